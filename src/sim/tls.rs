//! The server's side of TLS, for `--ssl-key-file` and `--ssl-cert-file`.
//!
//! Main types: [`config`] and [`Session`], which turns plain bytes into bytes of the wire and back.
//! It touches no socket.

use std::cell::RefCell;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection};

/// Reads key and certificates, both in PEM.
pub(super) fn config(key: &Path, certificates: &Path) -> io::Result<Arc<ServerConfig>> {
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    let certificates = CertificateDer::pem_file_iter(certificates)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(io::Error::other)?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .and_then(|builder| builder.with_no_client_auth().with_single_cert(certificates, key))
        .map_err(io::Error::other)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// One connection's.
#[derive(Debug)]
pub(super) struct Session(RefCell<ServerConnection>);

impl Session {
    pub(super) fn new(config: &Arc<ServerConfig>) -> io::Result<Self> {
        let mut session = ServerConnection::new(Arc::clone(config)).map_err(io::Error::other)?;
        session.set_buffer_limit(None);
        Ok(Self(RefCell::new(session)))
    }

    /// Plain bytes, as they go over the wire; with what the handshake has to say.
    pub(super) fn seal(&self, plain: &[u8]) -> io::Result<Vec<u8>> {
        let mut session = self.0.borrow_mut();
        session.writer().write_all(plain)?;
        drain(&mut session)
    }

    /// The farewell.
    pub(super) fn close(&self) -> io::Result<Vec<u8>> {
        let mut session = self.0.borrow_mut();
        session.send_close_notify();
        drain(&mut session)
    }

    /// Appends to `plain` what these bytes of the wire hold.
    pub(super) fn open(&self, mut sealed: &[u8], plain: &mut Vec<u8>) -> io::Result<()> {
        let mut session = self.0.borrow_mut();
        while !sealed.is_empty() {
            session.read_tls(&mut sealed)?;
            session.process_new_packets().map_err(io::Error::other)?;
            match session.reader().read_to_end(plain) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => drop(result?),
            }
        }
        Ok(())
    }
}

fn drain(session: &mut ServerConnection) -> io::Result<Vec<u8>> {
    let mut sealed = Vec::new();
    while session.wants_write() {
        session.write_tls(&mut sealed)?;
    }
    Ok(sealed)
}
