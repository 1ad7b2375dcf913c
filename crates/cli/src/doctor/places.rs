//! Addresses and ports: of this node, and of the others.

use std::{
    io::ErrorKind,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use strongroom_server::settings::{Peer, Settings};
use tokio::net::{TcpStream, lookup_host};

use super::{Finding, Verdict};

/// How long another node may take to accept.
const WITHIN: Duration = Duration::from_secs(2);

pub(super) async fn look(settings: &Settings) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(addr) = settings.api.addr {
        findings.push(port("API port", addr));
    }
    if let Some(raft) = &settings.raft {
        findings.push(match raft.resolve().await {
            Ok(addr) => port("Raft port", addr),
            Err(why) => Finding::new("Raft port", Verdict::Wrong, why),
        });
    }
    for peer in &settings.peers {
        if peer.name != settings.node_id {
            findings.push(another(peer).await);
        }
    }
    findings
}

/// Whether this process could listen there.
fn port(check: &str, addr: SocketAddr) -> Finding {
    let Err(error) = TcpListener::bind(addr) else {
        return Finding::new(check, Verdict::Ok, format!("{addr} is free"));
    };
    match error.kind() {
        ErrorKind::AddrInUse => {
            let said = format!("{addr} is in use: fine if this node runs; else end what uses it");
            Finding::new(check, Verdict::Warning, said)
        }
        ErrorKind::AddrNotAvailable => {
            let said = format!("{addr} is no address of this machine: set one that is");
            Finding::new(check, Verdict::Wrong, said)
        }
        _ => {
            let said =
                format!("{addr}: {error}: take another, or give the server's user the right");
            Finding::new(check, Verdict::Wrong, said)
        }
    }
}

/// Whether another node is found, and listens.
async fn another(peer: &Peer) -> Finding {
    let check = format!("node {}", peer.name);
    let address = &peer.address;
    let found = lookup_host(address.to_string()).await;
    let found: Vec<SocketAddr> = match found {
        Ok(found) => found.collect(),
        Err(error) => {
            let said = format!("{address}: {error}: mend VAULT_PEERS or the name service");
            return Finding::new(check, Verdict::Wrong, said);
        }
    };
    let connecting = TcpStream::connect(found.as_slice());
    let why = match tokio::time::timeout(WITHIN, connecting).await {
        Ok(Ok(_)) => return Finding::new(check, Verdict::Ok, format!("{address} accepts")),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {WITHIN:?}"),
    };
    let said = format!("{address}: {why}: start it, or let its Raft port through");
    Finding::new(check, Verdict::Warning, said)
}
