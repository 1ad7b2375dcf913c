//! Who speaks TLS to the API, and who does not.

use super::*;

/// Longer than any deadline of a handshake.
const WITHIN: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_are_spoken_and_http_1_1_in_them() {
    let ca = Ca::new("test");
    let (cluster, _files) = start(&ca, &[]).await;
    let node = &cluster.nodes[0];
    for client in [Client::of(&ca), Client::of_old(&ca)] {
        let mut talk = client.connect(node).await.unwrap();
        let spoken = talk.stream.get_ref().1.alpn_protocol();
        assert_eq!(spoken, Some(&b"http/1.1"[..]));
        for _ in 0..3 {
            let ready = talk.ask("GET", "/readyz", None, "").await.unwrap();
            ready.expect(200);
        }
        // Nothing is resumed: every connection is checked in full.
        let again = client.connect(node).await.unwrap();
        let kind = again.stream.get_ref().1.handshake_kind();
        assert_eq!(kind, Some(rustls::HandshakeKind::Full));
    }
    // Who trusts another authority does not speak on.
    let stranger = Client::of(&Ca::new("another"));
    assert!(stranger.connect(node).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_speaks_plain_http_is_told_nothing() {
    let ca = Ca::new("test");
    let (cluster, _files) = start(&ca, &[]).await;
    let node = &cluster.nodes[0];
    write(&Client::of(&ca), node, "s").await;
    for request in [
        "GET /v1/secrets/s HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
        "\r\n\r\n",
        "\0\0\0\0\0\0\0\0",
    ] {
        let mut stream = TcpStream::connect(address(node)).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = timeout(WITHIN, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "it is open still");
        // An alert at the most, which is seven bytes long.
        let is_alert = answer.len() == 7 && answer[0] == 0x15;
        assert!(answer.is_empty() || is_alert, "{answer:?}");
    }
    let page = metrics(&Client::of(&ca), node).await;
    let failed = metric(&page, "strongroom_tls_handshakes_failed_total");
    assert!(failed.unwrap() >= 3, "{page}");
    let log = node.log_text();
    let told = log.matches("a TLS handshake failed").count();
    assert_eq!(told, 1, "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_hangs_holds_up_nobody_and_ends() {
    let ca = Ca::new("test");
    let (mut cluster, _files) = start(&ca, &[]).await;
    let client = Client::of(&ca);
    let node = &cluster.nodes[0];
    let began = Instant::now();
    let mut silent = Vec::new();
    for n in 0..300 {
        let mut stream = TcpStream::connect(address(node)).await.unwrap();
        if n % 2 == 0 {
            // The beginning of a hello.
            stream.write_all(b"\x16\x03\x01\x02\x00\x01").await.unwrap();
        }
        silent.push(stream);
    }
    for _ in 0..10 {
        let asked = Instant::now();
        let ready = client.get(node, "/readyz").await.unwrap();
        ready.expect(200);
        assert!(asked.elapsed() < Duration::from_secs(5));
    }
    let mut nothing = [0];
    for stream in &mut silent {
        let read = timeout(WITHIN, stream.read(&mut nothing)).await;
        assert!(matches!(read, Ok(Ok(_) | Err(_))), "it is open still");
    }
    let took = began.elapsed();
    assert!(took >= Duration::from_secs(9), "{took:?}");
    // Nor does one hold up the end.
    let _hangs = TcpStream::connect(address(node)).await.unwrap();
    client.get(node, "/readyz").await.unwrap().expect(200);
    let told = Instant::now();
    assert!(cluster.nodes[0].terminate().success());
    let took = told.elapsed();
    assert!(took < Duration::from_secs(6), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_show_certificates_of_their_authority() {
    let (ca, clients) = (Ca::new("test"), Ca::new("clients"));
    let (good, expired) = (clients.good(), clients.issue(-9, -1));
    let stranger = Ca::new("strangers").good();
    for auth in ["", "required", "optional"] {
        let (mut cluster, files) = prepare(&ca, &[("VAULT_TLS_CLIENT_AUTH", auth)]);
        replace(&files.client_ca, &clients.pem());
        let node = &mut cluster.nodes[0];
        let path = files.client_ca.display().to_string();
        node.env.insert("VAULT_TLS_CLIENT_CA".into(), path);
        node.start();
        let node = &cluster.nodes[0];
        let known = Client::with(&ca, &good, false);
        known.wait_ready(node).await;
        write(&known, node, "s").await;
        for old in [false, true] {
            let none = if old {
                Client::of_old(&ca)
            } else {
                Client::of(&ca)
            };
            let read = none.get(node, "/v1/secrets/s").await;
            assert_eq!(read.is_ok(), auth == "optional", "{auth} {old}: {read:?}");
            let read = Client::with(&ca, &good, old)
                .get(node, "/v1/secrets/s")
                .await;
            read.unwrap().expect(200);
            for bad in [&stranger, &expired] {
                let read = Client::with(&ca, bad, old).get(node, "/v1/secrets/s").await;
                assert!(read.is_err(), "{auth} {old}: {read:?}");
            }
        }
        // A certificate opens nothing by itself.
        let answer = known.get(node, "/v1/tokens").await.unwrap();
        answer.expect(401);
    }
}

/// The authority of clients is changed like the pair: those of the old one are not heard any more.
#[tokio::test(flavor = "multi_thread")]
async fn the_authority_of_clients_is_replaced_while_it_runs() {
    let (ca, old, new) = (Ca::new("test"), Ca::new("old"), Ca::new("new"));
    let (mut cluster, files) = prepare(&ca, &[]);
    replace(&files.client_ca, &old.pem());
    let path = files.client_ca.display().to_string();
    let node = &mut cluster.nodes[0];
    node.env.insert("VAULT_TLS_CLIENT_CA".into(), path);
    node.start();
    let node = &cluster.nodes[0];
    let (before, after) = (old.good(), new.good());
    let (before, after) = (
        Client::with(&ca, &before, false),
        Client::with(&ca, &after, false),
    );
    before.wait_ready(node).await;
    assert!(after.get(node, "/readyz").await.is_err());
    let mut open = before.connect(node).await.unwrap();
    open.ask("GET", "/readyz", None, "").await.unwrap();
    // Half of it is none: the old one goes on.
    let pem = new.pem();
    replace(&files.client_ca, &pem[..pem.len() / 2]);
    says(node, "changed TLS files are not used").await;
    before.get(node, "/readyz").await.unwrap().expect(200);
    replace(&files.client_ca, &pem);
    after.wait_ready(node).await;
    assert!(before.get(node, "/readyz").await.is_err());
    // Who is connected was checked when it came.
    let ready = open.ask("GET", "/readyz", None, "").await.unwrap();
    ready.expect(200);
}
