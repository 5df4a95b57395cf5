//! Models made on the spot, in the real llama-server.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bench_ci::cancel::Cancel;
use bench_ci::event::Events;
use bench_ci::model::synthetic;

/// The real server, for the tests that need it.
fn llama_server() -> PathBuf {
    match std::env::var_os("BENCH_CI_TEST_LLAMA_SERVER") {
        Some(path) => path.into(),
        None => panic!("BENCH_CI_TEST_LLAMA_SERVER is not set: run `cargo xtask test`"),
    }
}

/// A llama-server that dies with the test.
struct LlamaServer {
    child: std::process::Child,
    log: PathBuf,
    url: String,
}

impl LlamaServer {
    async fn start(model: &Path, folder: &Path) -> Self {
        let log = folder.join("llama-server.log");
        let file = std::fs::File::create(&log).unwrap();
        // The port is free again when the listener is dropped; the server takes it at once.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = std::process::Command::new(llama_server())
            .args(["--host", "127.0.0.1", "--ctx-size", "1024", "--parallel", "1"])
            // Without repacking: for it llama.cpp takes matrix instructions that the processor
            // announces, and that some virtual machines then refuse.
            .arg("--no-repack")
            .args(["--threads", "2", "--port", &port.to_string(), "--model"])
            .arg(model)
            .stdin(std::process::Stdio::null())
            .stdout(file.try_clone().unwrap())
            .stderr(file)
            .spawn()
            .expect("the real llama-server starts");
        let mut server = Self { child, log, url: format!("http://127.0.0.1:{port}") };
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..1200 {
            let health = client.get(format!("{}/health", server.url)).send().await;
            if health.is_ok_and(|answer| answer.status() == 200) {
                return server;
            }
            if let Some(status) = server.child.try_wait().unwrap() {
                panic!("llama-server left with {status}: {}", server.log_text());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("llama-server is not healthy after 60 s: {}", server.log_text());
    }

    fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for LlamaServer {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

#[tokio::test]
async fn the_real_llama_server_loads_every_type_and_answers_a_chat() {
    let folder = tempfile::tempdir().unwrap();
    for kind in synthetic::WeightType::ALL {
        let path = folder.path().join(format!("{}.gguf", kind.word()));
        let shape = format!("tiny,type={}", kind.word()).parse().unwrap();
        synthetic::make(&shape, &path, &Events::default(), &Cancel::never()).unwrap();
        let server = LlamaServer::start(&path, folder.path()).await;

        let body = serde_json::json!({
            "messages": [
                { "role": "system", "content": "You are a helpful assistant." },
                { "role": "user", "content": "What is the capital of France? Naïve café, 東京." },
            ],
            "stream": true, "max_tokens": 24, "seed": 42,
            "stream_options": { "include_usage": true },
        });
        let client = reqwest::Client::builder().no_proxy().build().unwrap();
        let url = format!("{}/v1/chat/completions", server.url);
        let answer = client.post(url).json(&body).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{kind:?}: {}", server.log_text());
        let text = answer.text().await.unwrap();
        let chunks: Vec<serde_json::Value> = text
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter(|data| *data != "[DONE]")
            .map(|data| serde_json::from_str(data).unwrap())
            .collect();
        let deltas = chunks
            .iter()
            .filter(|chunk| {
                chunk["choices"][0]["delta"]["content"].as_str().is_some_and(|it| !it.is_empty())
            })
            .count();
        let usage = chunks.iter().find_map(|chunk| chunk["usage"]["completion_tokens"].as_u64());
        // The whole budget: neither an early end nor half characters held back.
        assert_eq!(usage, Some(24), "{kind:?}: {text}");
        assert_eq!(deltas, 24, "{kind:?}: {text}");
        let prompt = chunks.iter().find_map(|chunk| chunk["usage"]["prompt_tokens"].as_u64());
        assert!(prompt.is_some_and(|tokens| (20..110).contains(&tokens)), "{kind:?}: {text}");
    }
}
