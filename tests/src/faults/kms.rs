//! A KMS for a run: as much of it as a node asks for, fast enough for all clients, and away on command,
//! from all nodes or from one.
//!
//! That Strongroom works with KMS is shown with moto, in `tests/tests/kms_moto.rs` and others.

use std::{
    collections::HashMap,
    io::Write as _,
    net::{IpAddr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use crate::moto::{
    REGION,
    gate::{Mode, hold, message, target},
    stub::error_answer,
};

/// The one key that there is.
const KEY: &str = "arn:aws:kms:eu-central-1:111122223333:key/faults";
/// Of a data key.
const KEY_BYTES: usize = 32;
const ID_BYTES: usize = 24;

/// It lives as long as the process.
#[derive(Clone)]
pub struct Kms {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

#[derive(Default)]
struct Inner {
    /// By the wrapped key, which is a random number: its data key and the context that it is bound to.
    keys: HashMap<Vec<u8>, (Vec<u8>, Value)>,
    away: Option<Away>,
}

struct Away {
    /// From this node alone.
    from: Option<IpAddr>,
    mode: Mode,
}

impl Kms {
    /// One that nodes reach at this address.
    pub fn start(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).expect("a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let kms = Self {
            address,
            inner: Arc::default(),
        };
        let keeper = kms.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let keeper = keeper.clone();
                thread::spawn(move || keeper.serve(stream));
            }
        });
        kms
    }

    /// What a node's environment needs.
    pub fn settings(&self) -> Vec<(&'static str, String)> {
        vec![
            ("VAULT_KMS_MODE", "aws".to_owned()),
            ("VAULT_KMS_KEY_ID", KEY.to_owned()),
            ("VAULT_LOCAL_MASTER_KEY", String::new()),
            ("AWS_ENDPOINT_URL_KMS", format!("http://{}", self.address)),
            ("AWS_REGION", REGION.to_owned()),
            ("AWS_ACCESS_KEY_ID", "AKIATESTTESTTEST".to_owned()),
            ("AWS_SECRET_ACCESS_KEY", "not-a-secret".to_owned()),
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
            ("AWS_CONFIG_FILE", "/dev/null".to_owned()),
            ("AWS_SHARED_CREDENTIALS_FILE", "/dev/null".to_owned()),
        ]
    }

    /// From now on it does not answer, or as it should not; to one node, or to all.
    pub fn go_away(&self, from: Option<IpAddr>, mode: Mode) {
        self.lock().away = Some(Away { from, mode });
    }

    /// From now on it answers.
    pub fn come_back(&self) {
        self.lock().away = None;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection. It ends with its client, or on any trouble.
    fn serve(&self, mut client: TcpStream) -> Option<()> {
        let peer = client.peer_addr().ok()?.ip();
        loop {
            let request = message(&mut client)?;
            match self.mode(peer) {
                Mode::Hold => return hold(&mut client),
                Mode::Cut => return None,
                Mode::Error(status, code) => {
                    let answer = error_answer(status, code);
                    return client.write_all(answer.as_bytes()).ok();
                }
                Mode::Pass | Mode::Slow(_) => {}
            }
            let answer = match self.answer(&request) {
                Some(body) => answer(&body),
                None => error_answer(400, "InvalidCiphertextException"),
            };
            client.write_all(answer.as_bytes()).ok()?;
        }
    }

    fn mode(&self, peer: IpAddr) -> Mode {
        let inner = self.lock();
        let away = inner.away.as_ref();
        let away = away.filter(|away| away.from.is_none_or(|from| from == peer));
        away.map_or(Mode::Pass, |away| away.mode.clone())
    }

    fn answer(&self, request: &[u8]) -> Option<Value> {
        let body = std::str::from_utf8(request).ok()?.split_once("\r\n\r\n")?.1;
        let body: Value = serde_json::from_str(body).ok()?;
        let context = body["EncryptionContext"].clone();
        match target(request).as_str() {
            "GenerateDataKey" => {
                let (wrapped, key) = (random(ID_BYTES), random(KEY_BYTES));
                let answer = json!({
                    "KeyId": KEY,
                    "CiphertextBlob": BASE64_STANDARD.encode(&wrapped),
                    "Plaintext": BASE64_STANDARD.encode(&key),
                });
                self.lock().keys.insert(wrapped, (key, context));
                Some(answer)
            }
            "Decrypt" => {
                let wrapped = BASE64_STANDARD
                    .decode(body["CiphertextBlob"].as_str()?)
                    .ok()?;
                let inner = self.lock();
                let (key, bound) = inner.keys.get(&wrapped)?;
                (*bound == context).then(|| {
                    json!({
                        "KeyId": KEY,
                        "Plaintext": BASE64_STANDARD.encode(key),
                        "EncryptionAlgorithm": "SYMMETRIC_DEFAULT",
                    })
                })
            }
            _ => None,
        }
    }
}

fn answer(body: &Value) -> String {
    let body = body.to_string();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/x-amz-json-1.1\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn random(count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    getrandom::fill(&mut bytes).expect("the system's randomness");
    bytes
}
