//! TLS on the API, its Unix socket, and the PROXY protocol.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/dev_ca.rs"]
mod dev_ca;
#[path = "tls/drain.rs"]
mod drain;
#[path = "tls/files.rs"]
mod files;
#[path = "tls/proxy.rs"]
mod proxy;
#[path = "tls/socket.rs"]
mod socket;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use strongroom_tests::{
    cluster::{Cluster, TOKEN},
    node::{Node, PATIENCE},
    raw::Raw,
    tls::{Ca, Client, Files, Pair, Talk, address, metric, prepare, replace, says, start},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// Writes a secret over TLS.
async fn write(client: &Client, node: &Node, name: &str) {
    let mut talk = client.connect(node).await.unwrap();
    let body = json!({"name": name, "value": "v"}).to_string();
    let written = talk.ask("POST", "/v1/secrets", Some(TOKEN), &body).await;
    written.unwrap().expect(201);
}

/// The node's metrics.
async fn metrics(client: &Client, node: &Node) -> String {
    let page = client.get(node, "/metrics").await.unwrap();
    page.expect(200).text
}
