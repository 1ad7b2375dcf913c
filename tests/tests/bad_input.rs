//! Bad input: a clear error, and nothing changed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

#[path = "bad_input/bodies.rs"]
mod bodies;
#[path = "bad_input/clients.rs"]
mod clients;
#[path = "bad_input/names.rs"]
mod names;

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use strongroom_tests::{
    api::Answer,
    cluster::{Cluster, TOKEN},
    raw::{Raw, request_id},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// In every bad request, and in no answer.
const MARK: &str = "hunter2hunter2";

struct Lab {
    cluster: Cluster,
    before: Value,
}

impl Lab {
    async fn start(env: &[(&str, &str)]) -> Self {
        let cluster = Cluster::start_with(1, env).await;
        let admin = Raw::node(&cluster.nodes[0]).token(TOKEN);
        let body = json!({"name": "there", "value": "v", "description": "d"});
        admin.post("/v1/secrets", &body).await.expect(201);
        let mut lab = Self {
            cluster,
            before: Value::Null,
        };
        lab.before = lab.everything().await;
        lab
    }

    fn raw(&self) -> Raw {
        Raw::node(&self.cluster.nodes[0])
    }

    fn admin(&self) -> Raw {
        self.raw().token(TOKEN)
    }

    async fn everything(&self) -> Value {
        let mut all = Vec::new();
        for at in ["/v1/secrets", "/v1/roles", "/v1/tokens"] {
            let mut list = self.admin().get(at).await.expect(200).json;
            for row in list["tokens"].as_array_mut().into_iter().flatten() {
                row["last_used_at"] = Value::Null;
            }
            all.push(list);
        }
        Value::Array(all)
    }

    /// A clear error that repeats nothing.
    #[track_caller]
    fn refused(&self, answer: &Answer, status: u16, what: &str) -> String {
        let what = what.get(..what.len().min(120)).unwrap_or(what);
        assert_eq!(answer.status, status, "{what}: {}", answer.text);
        let code = match status {
            400 => "invalid_request",
            404 => "not_found",
            405 => "invalid_request",
            409 => "already_exists",
            413 => "too_large",
            status => panic!("{status}"),
        };
        assert_eq!(answer.code(), code, "{what}");
        assert!(!answer.text.contains("hunter2"), "{what}: {}", answer.text);
        assert_eq!(request_id(answer).len(), 32, "{what}");
        answer.json["error"].as_str().unwrap().to_owned()
    }

    async fn nothing_changed(&self) {
        assert_eq!(self.before, self.everything().await);
        let log = self.cluster.nodes[0].log_text();
        assert!(!log.contains("panic"), "{log}");
    }
}
