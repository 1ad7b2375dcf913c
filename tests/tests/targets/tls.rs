//! Whose certificate is believed.

use super::*;

/// What the server shows must be signed by who the settings name, for the host that they name.
#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_checked_in_full() {
    let _alone = alone().await;
    let key = rcgen::KeyPair::generate().unwrap();
    let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let other_key = rcgen::KeyPair::generate().unwrap();
    let other = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let other = other.self_signed(&other_key).unwrap();

    let mut postgres = Postgres::start(&[]);
    let certificate_file = postgres.file("server.crt", &certificate.pem());
    let key_file = postgres.file("server.key", &key.serialize_pem());
    let files = tempfile::tempdir().unwrap();
    let roots = |name: &str, pem: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, pem).unwrap();
        path.display().to_string()
    };
    let (right, wrong) = (
        roots("right", &certificate.pem()),
        roots("wrong", &other.pem()),
    );
    let port = postgres.port;
    let targets = format!(
        "right=postgresql://localhost:{port}/?secrets=*&sslrootcert={right};\
         name=postgresql://127.0.0.1:{port}/?secrets=*&sslrootcert={right};\
         roots=postgresql://localhost:{port}/?secrets=*&sslrootcert={wrong};\
         plain=postgresql://localhost:{port}/?secrets=*&sslmode=disable"
    );
    make_role(&postgres).await;
    let cluster = Cluster::start_with(1, &[("VAULT_TARGETS", &targets)]).await;
    let create = |target: &'static str| {
        let api = cluster.admin(0);
        async move {
            let body = json!({
                "name": target, "kind": "automatic", "rotation_interval_secs": 86_400,
                "target": target, "data": {"username": USER, "password": FIRST},
            });
            api.post("/v1/secrets", body).await
        }
    };
    // Nobody is talked to in the clear because the server offers nothing else.
    create("right").await.expect(503);
    postgres.stop();
    postgres.set(&[
        "ssl=on",
        &format!("ssl_cert_file={}", certificate_file.display()),
        &format!("ssl_key_file={}", key_file.display()),
    ]);
    postgres.run();
    for refused in ["name", "roots"] {
        let answer = create(refused).await.expect(503);
        assert_eq!(answer.code(), "target_unavailable", "{refused}");
    }
    create("right").await.expect(201);
    let turned = cluster.admin(0);
    let turned = turned.send("POST", "/v1/secrets/right/rotate", None).await;
    let password = turned.expect(200).json["data"]["password"].take();
    assert!(postgres.lets_in(USER, password.as_str().unwrap()).await);
}

#[test]
fn roots_that_cannot_be_read_stop_the_start() {
    let files = tempfile::tempdir().unwrap();
    let (missing, empty) = (files.path().join("missing"), files.path().join("empty"));
    std::fs::write(&empty, "no certificate").unwrap();
    for (file, word) in [(missing, "cannot read"), (empty, "no certificate")] {
        let target = format!(
            "o=postgresql://db/?secrets=*&sslrootcert={}",
            file.display()
        );
        let mut cluster = Cluster::prepare(1, &[("VAULT_TARGETS", &target)]);
        cluster.nodes[0].start();
        assert_eq!(cluster.nodes[0].wait().code(), Some(2));
        let log = cluster.nodes[0].log_text();
        assert!(log.contains("VAULT_TARGETS") && log.contains(word), "{log}");
    }
}
