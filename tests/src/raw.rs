//! HTTP as bytes: requests that no well-behaved client sends, from any loopback address.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
};

use crate::{api::Answer, node::Node};

/// How long an answer may take.
const WITHIN: Duration = Duration::from_secs(40);

/// Sends requests to one address: each on a connection of its own, as it is written here.
#[derive(Clone, Debug)]
pub struct Raw {
    to: SocketAddr,
    from: Option<IpAddr>,
    headers: Vec<(String, String)>,
}

impl Raw {
    /// To this address.
    pub fn to(to: SocketAddr) -> Self {
        Self {
            to,
            from: None,
            headers: Vec::new(),
        }
    }

    /// To the API of a node, at 127.0.0.1.
    pub fn node(node: &Node) -> Self {
        Self::to(SocketAddr::from(([127, 0, 0, 1], node.api_port)))
    }

    /// The same from another local address.
    pub fn from(&self, address: &str) -> Self {
        Self {
            from: Some(address.parse().expect("an address")),
            ..self.clone()
        }
    }

    /// The same with one more header.
    pub fn header(&self, name: &str, value: &str) -> Self {
        let mut more = self.clone();
        more.headers.push((name.to_owned(), value.to_owned()));
        more
    }

    /// The same with a token.
    pub fn token(&self, token: &str) -> Self {
        self.header("Authorization", &format!("Bearer {token}"))
    }

    /// A connection.
    pub async fn connect(&self) -> io::Result<TcpStream> {
        let socket = match self.to {
            SocketAddr::V4(_) => TcpSocket::new_v4(),
            SocketAddr::V6(_) => TcpSocket::new_v6(),
        }?;
        if let Some(from) = self.from {
            socket.bind(SocketAddr::new(from, 0))?;
        }
        socket.connect(self.to).await
    }

    /// The bytes of a request's head, with these headers beside its own.
    pub fn head(&self, method: &str, target: &str, more: &[(&str, &str)]) -> Vec<u8> {
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n",
            self.to
        );
        let own = self.headers.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        for (name, value) in own.chain(more.iter().copied()) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// Sends bytes and reads until the server closes.
    pub async fn exchange(&self, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut stream = self.connect().await?;
        // A server that has answered already may have closed: what it said still counts.
        let sent = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        match tokio::time::timeout(WITHIN, stream.read_to_end(&mut answer)).await {
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
            Ok(Err(error)) if answer.is_empty() => return Err(error),
            Ok(_) => {}
        }
        if answer.is_empty() {
            sent?;
        }
        Ok(answer)
    }

    /// Sends bytes that must be answered with HTTP.
    #[track_caller]
    pub fn answer_to(&self, bytes: Vec<u8>) -> impl Future<Output = Answer> + use<> {
        let (raw, place) = (self.clone(), std::panic::Location::caller());
        async move {
            let answer = raw.exchange(&bytes).await;
            let answer = answer.unwrap_or_else(|error| panic!("no answer at {place}: {error}"));
            parse(&answer).unwrap_or_else(|| {
                let text = String::from_utf8_lossy(&answer);
                panic!("not HTTP at {place}: {text:?}")
            })
        }
    }

    /// Sends a request with this text as its body.
    #[track_caller]
    pub fn text(
        &self,
        method: &str,
        target: &str,
        body: &str,
    ) -> impl Future<Output = Answer> + use<> {
        let length = body.len().to_string();
        let mut bytes = self.head(method, target, &[("Content-Length", &length)]);
        bytes.extend_from_slice(body.as_bytes());
        self.answer_to(bytes)
    }

    /// Sends a request with these bytes as its body.
    #[track_caller]
    pub fn bytes(
        &self,
        method: &str,
        target: &str,
        body: &[u8],
    ) -> impl Future<Output = Answer> + use<> {
        let length = body.len().to_string();
        let mut bytes = self.head(method, target, &[("Content-Length", &length)]);
        bytes.extend_from_slice(body);
        self.answer_to(bytes)
    }

    /// Sends a request with this JSON as its body.
    #[track_caller]
    pub fn json(
        &self,
        method: &str,
        target: &str,
        body: &Value,
    ) -> impl Future<Output = Answer> + use<> {
        self.text(method, target, &body.to_string())
    }

    /// Sends a request without a body.
    #[track_caller]
    pub fn plain(&self, method: &str, target: &str) -> impl Future<Output = Answer> + use<> {
        self.answer_to(self.head(method, target, &[]))
    }

    /// GET.
    #[track_caller]
    pub fn get(&self, target: &str) -> impl Future<Output = Answer> + use<> {
        self.plain("GET", target)
    }

    /// POST.
    #[track_caller]
    pub fn post(&self, target: &str, body: &Value) -> impl Future<Output = Answer> + use<> {
        self.json("POST", target, body)
    }

    /// PUT.
    #[track_caller]
    pub fn put(&self, target: &str, body: &Value) -> impl Future<Output = Answer> + use<> {
        self.json("PUT", target, body)
    }

    /// DELETE.
    #[track_caller]
    pub fn delete(&self, target: &str) -> impl Future<Output = Answer> + use<> {
        self.plain("DELETE", target)
    }
}

/// A response from its bytes. Bodies are as long as the connection.
pub fn parse(bytes: &[u8]) -> Option<Answer> {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n")?;
    let (head, body) = (bytes.get(..end)?, bytes.get(end + 4..)?);
    let head = std::str::from_utf8(head).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let mut headers = reqwest::header::HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(':')?;
        let name: reqwest::header::HeaderName = name.trim().parse().ok()?;
        headers.append(name, value.trim().parse().ok()?);
    }
    let text = String::from_utf8_lossy(body).into_owned();
    let json = serde_json::from_str(&text).unwrap_or(Value::Null);
    Some(Answer {
        status,
        headers,
        text,
        json,
    })
}

/// The audit records in a node's files, oldest first.
pub fn audit_records(node: &Node) -> Vec<Value> {
    let dir = node.data_dir.join("audit");
    let mut files: Vec<_> = std::fs::read_dir(&dir)
        .expect("an audit directory")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "jsonl" || e == "log"))
        .collect();
    files.sort();
    let lines = files
        .iter()
        .map(|file| std::fs::read_to_string(file).expect("an audit file"));
    let records = lines.flat_map(|text| {
        text.lines()
            .map(|line| serde_json::from_str(line).expect("a record"))
            .collect::<Vec<Value>>()
    });
    records.collect()
}

/// The audit records of one request.
pub fn audited(node: &Node, answer: &Answer) -> Vec<Value> {
    let id = request_id(answer);
    let mut records = audit_records(node);
    records.retain(|record| record["request_id"] == id);
    records
}

/// The `X-Request-Id` of an answer.
#[track_caller]
pub fn request_id(answer: &Answer) -> String {
    let id = answer.headers.get("x-request-id");
    let id = id.unwrap_or_else(|| panic!("no X-Request-Id: {answer:?}"));
    id.to_str().expect("text").to_owned()
}
