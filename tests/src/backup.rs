//! Backups, as they come and go over HTTP.

use crate::api::{Answer, Api};

/// The bytes of a backup, taken with this client's token.
pub async fn take(api: &Api) -> Vec<u8> {
    let response = api.request("GET", "/v1/backup").send().await;
    let response = response.expect("an answer");
    assert_eq!(response.status(), 200);
    response.bytes().await.expect("a whole backup").to_vec()
}

/// Restores these bytes.
pub async fn restore(api: &Api, path: &str, bytes: Vec<u8>) -> Answer {
    let sent = api.request("POST", path).body(bytes).send().await;
    Answer::of(sent.expect("an answer"))
        .await
        .expect("an answer")
}
