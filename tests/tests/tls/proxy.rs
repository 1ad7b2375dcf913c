//! The PROXY protocol: who is believed, and what is made of it.

use strongroom_tests::raw::audited;

use super::*;

/// The proxies of these tests; 127.0.0.1 is a stranger.
const PROXY: &str = "127.0.0.2";
const REFUSED: &str = "strongroom_proxy_headers_refused_total";

const SETTINGS: [(&str, &str); 3] = [
    ("VAULT_PROXY_PROTOCOL", "true"),
    ("VAULT_TRUSTED_PROXIES", "127.0.0.2,10.0.0.0/8"),
    ("VAULT_ALLOWED_IPS", "192.0.2.7,2001:db8::7"),
];

/// A header of version 2 with this address of the client.
fn header(client: &str) -> Vec<u8> {
    let mut rest = Vec::new();
    let family = match client.parse().unwrap() {
        std::net::IpAddr::V4(client) => {
            rest.extend(client.octets());
            rest.extend([127, 0, 0, 1]);
            0x11
        }
        std::net::IpAddr::V6(client) => {
            rest.extend(client.octets());
            rest.extend([0; 16]);
            0x21
        }
    };
    rest.extend([0x30, 0x39, 0x20, 0x08]);
    header_of(0x21, family, &rest)
}

fn header_of(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

async fn cluster() -> Cluster {
    // Ready is asked for without a header, by a stranger.
    let cluster = Cluster::start_with(1, &SETTINGS).await;
    let secret = json!({"name": "s", "value": "v"});
    let admin = Raw::node(&cluster.nodes[0]).token(TOKEN);
    admin.post("/v1/secrets", &secret).await.expect(201);
    cluster
}

/// Reads the secret after these bytes, from an address.
fn read(node: &Node, from: &str, before: &[u8]) -> (Raw, Vec<u8>) {
    let raw = Raw::node(node).from(from);
    let mut bytes = before.to_vec();
    bytes.extend(raw.head("GET", "/v1/secrets/s", &[]));
    (raw, bytes)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_client_that_a_proxy_names_is_who_asks() {
    let cluster = cluster().await;
    let node = &cluster.nodes[0];
    let local = header_of(0x20, 0, &[]);
    for (before, status, client) in [
        (header("192.0.2.7"), 200, "192.0.2.7"),
        (header("2001:db8::7"), 200, "2001:db8::7"),
        (header("::ffff:192.0.2.7"), 200, "192.0.2.7"),
        (header("192.0.2.8"), 403, "192.0.2.8"),
        (header("2001:db8::8"), 403, "2001:db8::8"),
        // It speaks for itself.
        (local, 403, PROXY),
    ] {
        let (raw, bytes) = read(node, PROXY, &before);
        let answer = raw.answer_to(bytes).await;
        let record = &audited(node, &answer)[0];
        assert_eq!(answer.status, status, "{client}");
        assert_eq!(record["client_ip"], client);
        assert_eq!(record["peer_ip"], PROXY);
    }
    // What is further in is the client's own claim.
    let (raw, bytes) = read(node, PROXY, &header("192.0.2.8"));
    let claims = String::from_utf8_lossy(&bytes[28..]);
    let claims = claims.replace("\r\n\r\n", "\r\nX-Forwarded-For: 192.0.2.7\r\n\r\n");
    let bytes = [&bytes[..28], claims.as_bytes()].concat();
    raw.answer_to(bytes).await.expect(403);
    // A stranger needs no header, and is itself.
    let (raw, bytes) = read(node, "127.0.0.1", b"");
    let answer = raw.answer_to(bytes).await.expect(403);
    assert_eq!(audited(node, &answer)[0]["client_ip"], "127.0.0.1");
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_behind_a_proxy_lock_out_who_guesses() {
    let cluster = cluster().await;
    let node = &cluster.nodes[0];
    let wrong = Raw::node(node)
        .from(PROXY)
        .token("srt_wrong-wrong-wrong-wrong");
    let right = Raw::node(node).from(PROXY).token(TOKEN);
    let asks = |raw: &Raw, client: &str| {
        let head = raw.head("GET", "/v1/tokens", &[]);
        raw.answer_to([header(client), head].concat())
    };
    for _ in 0..5 {
        asks(&wrong, "203.0.113.9").await.expect(401);
    }
    asks(&right, "203.0.113.9").await.expect(429);
    asks(&right, "203.0.113.8").await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_header_of_a_stranger_and_one_that_is_none_close_the_connection() {
    let cluster = cluster().await;
    let node = &cluster.nodes[0];
    let good = header("192.0.2.7");
    let v1 = b"PROXY TCP4 192.0.2.7 127.0.0.1 12345 8200\r\n".to_vec();
    let long = header_of(0x21, 0x11, &[1; 10_000]);
    let cases = [
        ("a stranger's", "127.0.0.1", good.clone()),
        ("a stranger's of version 1", "127.0.0.1", v1.clone()),
        ("none", PROXY, Vec::new()),
        ("version 1", PROXY, v1),
        ("10 kB", PROXY, long),
        ("a proxy for a client", PROXY, header("10.1.2.3")),
        ("the proxy for a client", PROXY, header(PROXY)),
        ("no address", PROXY, header_of(0x21, 0, &[])),
        ("a Unix socket", PROXY, header_of(0x21, 0x31, &[1; 216])),
        (
            "a short address",
            PROXY,
            header_of(0x21, 0x11, &[192, 0, 2, 7]),
        ),
        ("another command", PROXY, header_of(0x22, 0x11, &good[16..])),
    ];
    let count = cases.len();
    for (what, from, before) in cases {
        let (raw, bytes) = read(node, from, &before);
        // Closed, or reset where something was left unread.
        let answer = raw.exchange(&bytes).await.unwrap_or_default();
        let text = String::from_utf8_lossy(&answer);
        assert!(answer.is_empty(), "{what}: {text}");
    }
    // Cut short: by whoever hangs up, and by whoever sends no more.
    for hangs_up in [true, false] {
        // The first says nothing at all, and is told of only if it stays.
        for cut in [0, 1, 11, 12, 16, 20, good.len() - 1] {
            let raw = Raw::node(node).from(PROXY);
            let mut stream = raw.connect().await.unwrap();
            stream.write_all(&good[..cut]).await.unwrap();
            if hangs_up {
                stream.shutdown().await.unwrap();
            }
            let mut answer = Vec::new();
            let read = timeout(Duration::from_secs(20), stream.read_to_end(&mut answer)).await;
            assert!(read.is_ok() && answer.is_empty(), "{cut}: {answer:?}");
        }
    }
    let page = node.api().get("/metrics").await.text;
    let refused = metric(&page, REFUSED).unwrap();
    assert_eq!(refused, i64::try_from(count + 13).unwrap(), "{page}");
    // Lines are few, however many there were.
    let told = node
        .log_text()
        .matches("a PROXY header was refused")
        .count();
    assert!((1..=6).contains(&told), "{told}");
    // Without the setting, nobody's header is believed.
    let plain = Cluster::start(1).await;
    let (raw, bytes) = read(&plain.nodes[0], "127.0.0.1", &good);
    let answer = raw.exchange(&bytes).await.unwrap_or_default();
    assert!(!String::from_utf8_lossy(&answer).contains(" 200 "));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_header_comes_before_tls() {
    let ca = Ca::new("test");
    let (mut cluster, _files) = prepare(&ca, &SETTINGS);
    cluster.nodes[0].start();
    let client = Client::of(&ca);
    let node = &cluster.nodes[0];
    // Strangers speak TLS at once.
    client.wait_ready(node).await;
    write(&client, node, "s").await;
    let raw = Raw::node(node).from(PROXY);
    for (named, status) in [("192.0.2.7", 200), ("192.0.2.8", 403)] {
        let mut stream = raw.connect().await.unwrap();
        stream.write_all(&header(named)).await.unwrap();
        let mut talk = client.talk(stream).await.unwrap();
        // A header holds for the connection.
        for _ in 0..3 {
            let answer = talk.ask("GET", "/v1/secrets/s", None, "").await.unwrap();
            assert_eq!(answer.status, status, "{named}");
            assert_eq!(audited(node, &answer)[0]["client_ip"], named);
        }
    }
    let bare = raw.connect().await.unwrap();
    assert!(client.talk(bare).await.is_err());
    let mut stream = Raw::node(node).connect().await.unwrap();
    stream.write_all(&header("192.0.2.7")).await.unwrap();
    assert!(client.talk(stream).await.is_err());
}

/// One of both says who asks, or neither could be relied on.
#[tokio::test(flavor = "multi_thread")]
async fn a_header_and_x_forwarded_for_together_stop_the_start() {
    let mut cluster = Cluster::prepare(1, &SETTINGS);
    let node = &mut cluster.nodes[0];
    node.env.insert("VAULT_TRUST_PROXY".into(), "true".into());
    node.start();
    assert_eq!(node.wait().code(), Some(2));
    let log = node.log_text();
    assert!(
        log.contains("VAULT_PROXY_PROTOCOL cannot be set with"),
        "{log}"
    );
    node.env.insert("VAULT_TRUST_PROXY".into(), "false".into());
    node.env.remove("VAULT_TRUSTED_PROXIES");
    node.start();
    assert_eq!(node.wait().code(), Some(2));
    let log = node.log_text();
    assert!(
        log.contains("is needed with VAULT_PROXY_PROTOCOL=true"),
        "{log}"
    );
}
