//! The ceiling for reads: a route of the same framework that answers with the same bytes, and does
//! nothing for it.

use std::{fs, net::Ipv4Addr, path::Path, process::Command};

use anyhow::{Context, Result};
use axum::{Router, body::Bytes, http::HeaderMap, routing::get, serve::ListenerExt as _};
use strongroom_tests::{api::Api, node::free_port};

use super::{Subject, strongroom};
use crate::{server::Server, wrk::Traffic};

/// The route, in a process of its own.
pub(crate) struct Ceiling {
    server: Server,
    port: u16,
    _answer: tempfile::NamedTempFile,
}

impl Ceiling {
    /// Starts it with what Strongroom answers to this path.
    pub(crate) async fn start(api: &Api, path: &str) -> Result<Self> {
        let (mut head, body) = strongroom::answer(api, path).await?;
        // The framework writes these by itself, as it does for Strongroom.
        head.retain(|(name, _)| !["content-length", "date"].contains(&name.as_str()));
        let answer = tempfile::NamedTempFile::new()?;
        fs::write(
            answer.path(),
            format!("{}\n{body}", serde_json::to_string(&head)?),
        )?;
        let port = free_port();
        let mut command = Command::new(std::env::current_exe()?);
        command
            .args(["ceiling", &port.to_string()])
            .arg(answer.path());
        let mut server = Server::start(&mut command)?;
        server.wait_for_port(port)?;
        Ok(Self {
            server,
            port,
            _answer: answer,
        })
    }

    fn subject(&self, traffic: Traffic) -> Subject {
        Subject {
            name: "bare route".to_owned(),
            traffic,
            pids: vec![self.server.pid()],
        }
    }

    /// GET of one path.
    pub(crate) fn read_one(&self) -> Subject {
        let url = format!("http://127.0.0.1:{}/v1/secrets/bench/0", self.port);
        self.subject(Traffic::get(url))
    }

    /// GET of paths as Strongroom's are.
    pub(crate) fn read_any(&self, count: u64) -> Subject {
        let base = format!("http://127.0.0.1:{}", self.port);
        self.subject(Traffic::get_random(&base, "/v1/secrets/bench/", count))
    }
}

/// Answers until it is killed.
pub(crate) async fn serve(port: u16, answer: &Path) -> Result<()> {
    let text = fs::read_to_string(answer)?;
    let (head, body) = text.split_once('\n').context("no head")?;
    let head: Vec<(String, String)> = serde_json::from_str(head)?;
    let mut headers = HeaderMap::new();
    for (name, value) in head {
        headers.insert(axum::http::HeaderName::try_from(name)?, value.try_into()?);
    }
    let body = Bytes::from(body.to_owned());
    let answered = get(move || {
        let (headers, body) = (headers.clone(), body.clone());
        async move { (headers, body) }
    });
    let router = Router::new().route("/v1/secrets/{*name}", answered);
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let listener = listener.tap_io(|stream| {
        // As Strongroom does.
        let _ = stream.set_nodelay(true);
    });
    axum::serve(listener, router).await?;
    Ok(())
}
