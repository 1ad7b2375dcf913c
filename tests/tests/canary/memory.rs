//! What is left in the memory of the process.

use super::*;

/// Fragments of a value: a part that stays behind is a find as well.
fn fragments(value: &str) -> Vec<&[u8]> {
    let bytes = value.as_bytes();
    vec![&bytes[..12], &bytes[10..22], &bytes[20..]]
}

fn report(when: &str, what: &str, hits: &[Hit], size: usize) {
    let regions = by_region(hits);
    println!(
        "{when}, {what}: {} hits in {} MiB: {regions:?}",
        hits.len(),
        size >> 20
    );
    for hit in hits.iter().take(12) {
        println!("    {:#x} {}: {}", hit.address, hit.region, hit.around);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_leave_the_memory_of_the_process() {
    let token = canary();
    let cluster = Cluster::start_with(
        1,
        &[
            ("VAULT_DEK_CACHE_TTL_SECS", "1"),
            ("VAULT_BOOTSTRAP_TOKEN", &token),
        ],
    )
    .await;
    let node = &cluster.nodes[0];
    let pid = node.pid();
    let raw = Raw::node(node);
    let admin = raw.token(&token);
    if in_memory(pid, &[]).is_none() {
        println!("/proc/{pid}/mem may not be read by this user: nothing was measured");
        return;
    }
    // A value on an open connection is there to be found: otherwise this measures nothing.
    let held = canary();
    let body = json!({"name": "held", "value": held}).to_string();
    let length = (body.len() + 1).to_string();
    let mut open = admin.connect().await.unwrap();
    let head = admin.head("POST", "/v1/secrets", &[("Content-Length", &length)]);
    tokio::io::AsyncWriteExt::write_all(&mut open, &[&head[..], body.as_bytes()].concat())
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (hits, _) = in_memory(pid, &fragments(&held)).unwrap();
    assert!(!hits.is_empty(), "the control finds nothing");
    drop(open);

    // A connection that is kept open after its request: what stays in its buffers is measured, and
    // must go with it.
    let (kept, patient) = (canary(), node.api().with_token(&token));
    let body = json!({"name": "kept", "value": kept});
    patient.post("/v1/secrets", body).await.expect(201);
    patient.get("/v1/secrets/kept").await.expect(200);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let (hits, size) = in_memory(pid, &fragments(&kept)).unwrap();
    report("open and idle", "after a write and a read", &hits, size);
    drop(patient);

    let mut values = vec![
        ("on a connection that broke off", held),
        ("on a connection that was kept", kept),
    ];
    let mut names = Vec::new();
    for (what, bytes) in [("short", 0), ("of 5 KB", 5_000), ("of 300 KB", 300_000)] {
        let value = canary();
        let long = format!("{value}{}", "x".repeat(bytes));
        let name = format!("n{bytes}");
        let at = format!("/v1/secrets/{name}");
        let body = json!({"name": name, "value": long});
        admin.post("/v1/secrets", &body).await.expect(201);
        values.push((what, value));
        let value = canary();
        let body = json!({"data": {"a": format!("{value}{}", "y".repeat(bytes))}});
        admin.put(&at, &body).await.expect(200);
        values.push((what, value));
        for version in ["", "?version=1", "?version=2"] {
            raw.get(&format!("{at}{version}")).await.expect(200);
        }
        let value = canary();
        let wrong = json!({"value": format!("{value}{}", "z".repeat(bytes))});
        raw.post(&format!("{at}/verify"), &wrong).await.expect(200);
        values.push((what, value));
        names.push(name);
    }
    let batch = json!({"names": names});
    raw.post("/v1/batch/secrets", &batch).await.expect(200);
    let escapes = canary();
    let body = format!(r#"{{"name":"esc","value":"\"\\{escapes}\n"}}"#);
    admin.text("POST", "/v1/secrets", &body).await.expect(201);
    let verify = json!({"value": format!("\"\\{escapes}\n")});
    let valid = raw.post("/v1/secrets/esc/verify", &verify).await;
    assert_eq!(valid.expect(200).json["valid"], true);
    values.push(("with escapes", escapes));
    let auto = json!({"name": "auto", "kind": "automatic", "rotation_interval_secs": 3600});
    let made: Value = admin.post("/v1/secrets", &auto).await.expect(201).json;
    values.push(("generated", made["value"].as_str().unwrap().to_owned()));
    let refused = canary();
    let body = format!(r#"{{"name":"x","value":"{refused}","extra":1}}"#);
    admin.text("POST", "/v1/secrets", &body).await.expect(400);
    values.push(("refused", refused));
    let made = json!({"name": "t", "role": "admin"});
    let made = admin.post("/v1/tokens", &made).await.expect(201).json;
    let created = made["token"].as_str().unwrap().to_owned();
    raw.token(&created).get("/v1/tokens").await.expect(200);
    values.push(("a token", created));

    let needles: Vec<&[u8]> = values.iter().flat_map(|(_, v)| fragments(v)).collect();
    let (hits, size) = in_memory(pid, &needles).unwrap();
    report("right after", "all values", &hits, size);
    // Connections are closed; data keys expire after a second and are swept every second.
    tokio::time::sleep(Duration::from_secs(4)).await;
    let mut left = 0;
    for (what, value) in &values {
        let (hits, size) = in_memory(pid, &fragments(value)).unwrap();
        left += hits.len();
        if !hits.is_empty() {
            report("later", what, &hits, size);
        }
    }
    println!("later: {left} hits of {} values", values.len());
    // The bootstrap token stands in the environment that the process was started with, and there
    // only: who wants it elsewhere gives it as a file or as its hash.
    let (hits, _) = in_memory(pid, &fragments(&token)).unwrap();
    report("later", "the bootstrap token", &hits, size);
    assert!(hits.iter().all(|hit| hit.region == "[stack]"), "{hits:?}");
    assert_eq!(left, 0, "values stay in memory");
}
