//! A server that gives every request the same answer, or none.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};

use serde_json::json;

/// A server that gives every request the same answer, and counts. Lives as long as the process.
pub struct Stub {
    address: SocketAddr,
    requests: Arc<AtomicUsize>,
}

impl Stub {
    /// Answers every request with `status` and an AWS JSON error of this code.
    ///
    /// # Panics
    /// If loopback has no free port.
    #[must_use]
    pub fn error(status: u16, code: &str) -> Self {
        Self::serve(Some(error_answer(status, code)))
    }

    /// Accepts, reads and never answers.
    ///
    /// # Panics
    /// If loopback has no free port.
    #[must_use]
    pub fn hanging() -> Self {
        Self::serve(None)
    }

    fn serve(answer: Option<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&requests);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (answer, counter) = (answer.clone(), Arc::clone(&counter));
                thread::spawn(move || exchange(stream, answer.as_deref(), &counter));
            }
        });
        Self { address, requests }
    }

    /// The endpoint, for `AWS_ENDPOINT_URL_KMS`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// How many requests arrived.
    #[must_use]
    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

/// An AWS JSON error as a whole HTTP answer.
pub(crate) fn error_answer(status: u16, code: &str) -> String {
    let body = json!({ "__type": code, "message": "said the stub" }).to_string();
    format!(
        "HTTP/1.1 {status} Stub\r\nContent-Type: application/x-amz-json-1.1\r\n\
         Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn exchange(mut stream: TcpStream, answer: Option<&str>, requests: &AtomicUsize) {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(n) => seen.extend(buffer.iter().take(n)),
        }
        if !complete(&seen) {
            continue;
        }
        requests.fetch_add(1, Ordering::SeqCst);
        match answer {
            Some(answer) => {
                let _ = stream.write_all(answer.as_bytes());
                return;
            }
            None => seen.clear(),
        }
    }
}

/// Whether a whole request or answer with its body has arrived.
pub(super) fn complete(bytes: &[u8]) -> bool {
    let text = String::from_utf8_lossy(bytes);
    let Some((head, body)) = text.split_once("\r\n\r\n") else {
        return false;
    };
    let length = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| value.trim().parse::<usize>().ok())?
    });
    body.len() >= length.unwrap_or(0)
}
