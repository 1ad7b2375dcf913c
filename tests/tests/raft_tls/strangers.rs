//! Whoever reaches the Raft port and is no node.

use std::{
    fs,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use serde_json::Value;
use strongroom_tests::raft_tls::{Caller, answer_in_clear, member, raft_address, strangers};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use super::*;

/// A message of every kind, each as a node would send it but for its body.
fn messages() -> Vec<Vec<u8>> {
    let kinds = ["append", "vote", "snapshot", "submit", "status", "nonsense"];
    let message = |kind| {
        format!(
            "POST /raft/v1/{kind} HTTP/1.1\r\nHost: x\r\nX-Strongroom-Raft: 1\r\n\
             Connection: close\r\nContent-Length: 4\r\n\r\n\x01\x02\x03\x04"
        )
    };
    kinds
        .into_iter()
        .map(|kind| message(kind).into_bytes())
        .collect()
}

/// All that a stranger could have moved.
async fn view(cluster: &Cluster) -> (Value, Value, Value) {
    let view = cluster
        .admin(0)
        .get("/v1/admin/cluster")
        .await
        .expect(200)
        .json;
    let list = cluster.admin(0).get("/v1/secrets").await.expect(200).json;
    (view["term"].clone(), view["leader"].clone(), list)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_told_nothing_and_moves_nothing() {
    let _turn = alone().await;
    let key = new_key();
    let cluster = start(&key).await;
    write(&cluster.admin(0), "kept").await;
    let before = view(&cluster).await;
    let (strangers, member) = (strangers(&key).await, member(&key).await);
    for node in &cluster.nodes {
        let to = raft_address(node);
        for message in messages() {
            for stranger in &strangers {
                let answer = stranger.answer(to, &message).await;
                assert!(answer.is_empty(), "{} was answered", stranger.who);
            }
            let answer = answer_in_clear(to, &message).await;
            // An alert of TLS at most, and never HTTP.
            assert!(
                answer.len() < 16 && !answer.starts_with(b"HTTP"),
                "{answer:?}"
            );
            // The same from a node is heard: it is who asks that matters.
            let answer = member.answer(to, &message).await;
            assert!(answer.starts_with(b"HTTP/1.1 "), "a node was not answered");
        }
    }
    assert_eq!(view(&cluster).await, before);
}

fn rss_kib(node: &Node) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let digits = line.unwrap().trim().split(' ').next().unwrap();
    digits.parse().unwrap()
}

/// One connection of a flood: silent, talking nonsense, or as far into a handshake as it gets.
async fn one_of_many(n: usize, to: SocketAddr, caller: &Caller) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(to).await.ok()?;
    match n % 4 {
        0 => {}
        1 => stream.write_all(&[0xff; 2_000]).await.ok()?,
        2 => {
            // The head of a large record that never comes.
            stream
                .write_all(&[0x16, 3, 1, 0x40, 0, 1, 0, 0x3f, 0xfc])
                .await
                .ok()?;
            stream.write_all(&[0; 8_000]).await.ok()?;
        }
        _ => {
            drop(stream);
            caller.answer(to, b"GET / HTTP/1.1\r\n\r\n").await;
            return None;
        }
    }
    Some(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_strangers_cost_no_memory_and_no_write() {
    const BATCHES: usize = 40;
    const OF_EACH: usize = 250;
    let _turn = alone().await;
    let key = new_key();
    let cluster = start(&key).await;
    let leader = cluster.leader().await;
    let to = raft_address(&cluster.nodes[leader]);
    let stranger = Arc::new(strangers(&key).await.remove(0));
    let over = Arc::new(AtomicBool::new(false));
    let writer = {
        let (admin, over) = (cluster.admin((leader + 1) % 3), Arc::clone(&over));
        tokio::spawn(async move {
            let (mut count, mut slowest) = (0, Duration::ZERO);
            while !over.load(Relaxed) {
                let began = Instant::now();
                write(&admin, &format!("meanwhile/{count}")).await;
                slowest = slowest.max(began.elapsed());
                count += 1;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            (count, slowest)
        })
    };
    let before = rss_kib(&cluster.nodes[leader]);
    let began = Instant::now();
    for _ in 0..BATCHES {
        let connections = (0..OF_EACH).map(|n| {
            let stranger = Arc::clone(&stranger);
            tokio::spawn(async move { one_of_many(n, to, &stranger).await })
        });
        let mut open = Vec::new();
        for connection in connections.collect::<Vec<_>>() {
            open.extend(connection.await.unwrap());
        }
    }
    let after = rss_kib(&cluster.nodes[leader]);
    let took = began.elapsed();
    over.store(true, Relaxed);
    let (count, slowest) = writer.await.unwrap();
    println!(
        "{} connections in {took:?}: {before} KiB before, {after} KiB after; \
         {count} writes meanwhile, the slowest {slowest:?}",
        BATCHES * OF_EACH
    );
    assert!(count > 0);
    assert!(after < before + 64 * 1024, "{before} KiB, then {after} KiB");
    // Whoever starts anew is let in, and catches up.
    let other = &cluster.nodes[(leader + 2) % 3];
    read(other, "meanwhile/0").await;
}
