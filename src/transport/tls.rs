//! Whose certificates are believed, and what a failed handshake means in words.
//!
//! Main function: [`client_config`]. One configuration serves the load and the questions beside it,
//! so that both believe the same servers. It opens no connection.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::plan::transport::{HttpVersion, Transport};

/// Why TLS cannot be spoken at all.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of certificates cannot be read.
    #[error("cannot read the certificates of --cacert \"{}\"", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file has no certificate.
    #[error("the file of --cacert \"{}\" has no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate of the file cannot be trusted.
    #[error("cannot trust a certificate of --cacert \"{}\"", path.display())]
    NotTrusted {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: rustls::Error,
    },
    /// The system's certificates cannot be had.
    #[error("cannot load the certificates that this system trusts")]
    System(#[source] rustls::Error),
}

impl TlsError {
    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        Some(match self {
            TlsError::System(_) => "install the system's certificates (ca-certificates), set \
                 SSL_CERT_FILE, or name a PEM file with --cacert"
                .to_owned(),
            _ => "--cacert takes a PEM file of certificates, each between BEGIN CERTIFICATE and \
                 END CERTIFICATE"
                .to_owned(),
        })
    }
}

/// The client's side of TLS: the system's certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are
/// honoured), those of `--cacert` in their place, or none at all.
///
/// # Errors
/// Certificates that cannot be read.
pub fn client_config(transport: &Transport) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("this provider has all default versions");
    let builder = if transport.insecure {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyCertificate::of(&provider)))
    } else if let Some(path) = &transport.ca_file {
        builder.with_root_certificates(roots(path)?)
    } else {
        builder.with_platform_verifier().map_err(TlsError::System)?
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = match transport.http_version {
        HttpVersion::Http1 => vec![b"http/1.1".to_vec()],
        HttpVersion::Http2 => vec![b"h2".to_vec()],
        HttpVersion::Auto => vec![b"h2".to_vec(), b"http/1.1".to_vec()],
    };
    Ok(Arc::new(config))
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
        roots
            .add(certificate.map_err(unreadable)?)
            .map_err(|source| TlsError::NotTrusted { path: path.to_owned(), source })?;
    }
    if roots.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(roots)
}

/// Believes every certificate; that the peer holds its key is still checked.
#[derive(Debug)]
struct AnyCertificate(WebPkiSupportedAlgorithms);

impl AnyCertificate {
    fn of(provider: &CryptoProvider) -> Self {
        Self(provider.signature_verification_algorithms)
    }
}

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

/// What a failed handshake means: what was seen, and what to do about it.
#[must_use]
pub fn in_words(error: &rustls::Error) -> (String, Option<&'static str>) {
    use rustls::Error as E;
    let unknown_issuer = "name its CA with --cacert FILE, or pass --insecure to check nothing";
    match error {
        E::InvalidCertificate(certificate) => match certificate {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => (
                "the server's certificate is signed by nobody who is trusted here".to_owned(),
                Some(unknown_issuer),
            ),
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                (
                    "the server's certificate is for another name".to_owned(),
                    Some("use the name in the certificate, or pass --insecure to check nothing"),
                )
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
                "the server's certificate has expired".to_owned(),
                Some("renew the certificate, check this machine's clock, or pass --insecure"),
            ),
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
                "the server's certificate is not valid yet".to_owned(),
                Some("check this machine's clock, or pass --insecure"),
            ),
            other => {
                (format!("the server's certificate is not accepted: {other}"), Some(unknown_issuer))
            }
        },
        E::InvalidMessage(_) => (
            "the server did not answer in TLS".to_owned(),
            Some("if its port speaks plain HTTP, begin the URL with http://"),
        ),
        E::NoApplicationProtocol => no_http2(),
        E::AlertReceived(rustls::AlertDescription::NoApplicationProtocol) => no_http2(),
        other => (format!("the TLS handshake failed: {other}"), None),
    }
}

/// The peer did not agree to HTTP/2.
pub(crate) fn no_http2() -> (String, Option<&'static str>) {
    (
        "the server did not agree to HTTP/2 (ALPN)".to_owned(),
        Some("leave out --http2, or pass --http-version auto"),
    )
}
