//! Log lines: each that is written while a request is handled carries the request's id, which is also in the
//! answer and in the audit trail.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use serde_json::Value;
use strongroom_tests::{
    api::Answer,
    canary::canary,
    kms_cluster::KmsCluster,
    moto::gate::Mode,
    raw::{Raw, audited, request_id},
};

/// The line with these words, which must be one of the request that was answered so.
fn check(log: &str, words: &str, answer: &Answer, is_json: bool) {
    let id = request_id(answer);
    let lines: Vec<_> = log.lines().filter(|line| line.contains(words)).collect();
    let of_request: Vec<_> = lines.iter().filter(|line| line.contains(&id)).collect();
    assert_eq!(of_request.len(), 1, "{words} of {id} in {lines:#?}");
    if is_json {
        let line: Value = serde_json::from_str(of_request[0]).unwrap();
        assert_eq!(line["span"]["request_id"], id, "{line}");
        assert_eq!(line["span"]["name"], "request", "{line}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lines_of_a_request_carry_its_id() {
    // With a filter that lets through no more than warnings there is an id all the same.
    for (format, filter) in [("text", "warn"), ("json", "info")] {
        let env = [("VAULT_LOG_FORMAT", format), ("VAULT_LOG", filter)];
        let it = KmsCluster::start(1, &env).await;
        let (node, name) = (&it.cluster.nodes[0], canary());
        it.create(0, &name).await.expect(201);
        // On a task of the call's own.
        it.gate.set(Mode::Error(400, "AccessDeniedException"));
        let refused = it.create(0, &format!("{name}/refused")).await.expect(503);
        // Where the request was taken apart.
        let stranger = Raw::node(node).token("srt_wrong-wrong-wrong-wrong");
        let mut last = None;
        for _ in 0..5 {
            last = Some(stranger.get("/v1/roles").await.expect(401));
        }
        let last = last.unwrap();
        let log = node.log_text();
        check(&log, "locked out after too many", &last, format == "json");
        let kms = match format {
            "json" => "\"message\":\"KMS\"",
            _ => ": KMS error=",
        };
        check(&log, kms, &refused, format == "json");
        for answer in [&last, &refused] {
            assert!(!audited(node, answer).is_empty());
        }
        for secret in [name.as_str(), &format!("value of {name}")] {
            assert!(!log.contains(secret), "{log}");
        }
    }
}
