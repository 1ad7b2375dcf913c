//! `moto`: an emulator of AWS, here of KMS, IAM and S3, as a process of its own; [`stub`] for what moto
//! does not answer, [`gate`] for what may happen on the way to it, and [`child`] for tests that need
//! an AWS environment.

mod amend;
pub mod child;
pub mod gate;
pub mod stub;

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

/// The region that everything here lives in.
pub const REGION: &str = "eu-central-1";

/// A running moto, killed on drop.
pub struct Moto {
    child: Child,
    api: Api,
}

/// Calls of moto's own, without an SDK and without permissions.
#[derive(Clone, Copy)]
pub struct Api {
    address: SocketAddr,
}

/// Where the moto of `tests/requirements.txt` is: `$STRONGROOM_VENV`, or `.venv` in the workspace.
fn executable() -> PathBuf {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let venv = std::env::var_os("STRONGROOM_VENV").map_or(workspace.join(".venv"), PathBuf::from);
    venv.join("bin/moto_server")
}

impl Moto {
    /// Starts moto on a free port and waits until it answers.
    ///
    /// # Panics
    /// If moto is not installed (the message says how to), or does not answer within a minute.
    #[must_use]
    pub fn start() -> Self {
        let executable = executable();
        assert!(
            executable.is_file(),
            "{} is missing. Install it from the workspace's root: \
             python3 -m venv .venv && .venv/bin/pip install -r tests/requirements.txt \
             (or set STRONGROOM_VENV to a virtual environment that has it)",
            executable.display()
        );
        let address = free_address();
        let child = Command::new(&executable)
            .args(["-H", "127.0.0.1", "-p", &address.port().to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("moto_server starts");
        let mut moto = Self {
            child,
            api: Api { address },
        };
        let until = Instant::now() + Duration::from_secs(60);
        while TcpStream::connect(address).is_err() {
            let gone = moto
                .child
                .try_wait()
                .expect("moto_server can be waited for");
            assert!(gone.is_none(), "moto_server ended at once: {gone:?}");
            assert!(
                Instant::now() < until,
                "moto_server does not answer within a minute"
            );
            thread::sleep(Duration::from_millis(50));
        }
        moto
    }

    /// What it can be told.
    #[must_use]
    pub fn api(&self) -> Api {
        self.api
    }
}

impl Api {
    /// The moto at `endpoint`, e.g. of a parent process.
    ///
    /// # Panics
    /// If that is no `http://address:port`.
    #[must_use]
    pub fn at(endpoint: &str) -> Self {
        let address = endpoint
            .strip_prefix("http://")
            .and_then(|text| text.parse().ok());
        Self {
            address: address.expect("an endpoint is http://address:port"),
        }
    }

    /// The endpoint, for `AWS_ENDPOINT_URL_KMS`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Calls KMS: `api.kms("CreateKey", &json!({}))`.
    ///
    /// # Panics
    /// If moto refuses.
    pub fn kms(&self, call: &str, body: &Value) -> Value {
        let target = format!("TrentService.{call}");
        let headers = [
            ("X-Amz-Target", target.as_str()),
            ("Content-Type", "application/x-amz-json-1.1"),
        ];
        let answer = self.post("/", "kms", &headers, &body.to_string());
        serde_json::from_str(&answer).unwrap_or(Value::Null)
    }

    /// Creates a KMS key and returns its ARN.
    ///
    /// # Panics
    /// If moto refuses.
    #[must_use]
    pub fn create_key(&self) -> String {
        let answer = self.kms("CreateKey", &json!({}));
        answer["KeyMetadata"]["Arn"]
            .as_str()
            .expect("CreateKey answers with an ARN")
            .to_owned()
    }

    /// Creates an S3 bucket.
    ///
    /// # Panics
    /// If moto refuses.
    pub fn create_bucket(&self, bucket: &str) {
        let place = format!(
            "<CreateBucketConfiguration><LocationConstraint>{REGION}</LocationConstraint>\
             </CreateBucketConfiguration>"
        );
        self.call("PUT", &format!("/{bucket}"), "s3", &[], &place);
    }

    /// The keys in a bucket.
    ///
    /// # Panics
    /// If moto refuses.
    #[must_use]
    pub fn keys(&self, bucket: &str) -> Vec<String> {
        let listed = self.call("GET", &format!("/{bucket}?list-type=2"), "s3", &[], "");
        let listed = String::from_utf8(listed).expect("moto answers with text");
        let keys = listed.split("<Key>").skip(1);
        keys.filter_map(|rest| Some(rest.split_once('<')?.0.to_owned()))
            .collect()
    }

    /// What an object holds.
    ///
    /// # Panics
    /// If moto refuses.
    #[must_use]
    pub fn object(&self, bucket: &str, key: &str) -> Vec<u8> {
        self.call("GET", &format!("/{bucket}/{key}"), "s3", &[], "")
    }

    /// Creates an IAM user who may do `action` and nothing else, and makes moto check permissions
    /// from now on. Returns the user's access key id and secret.
    ///
    /// # Panics
    /// If moto refuses.
    #[must_use]
    pub fn user_who_may(&self, action: &str) -> (String, String) {
        let iam = |call: &str, more: &str| {
            let form = [("Content-Type", "application/x-www-form-urlencoded")];
            let body = format!("Action={call}&Version=2010-05-08&UserName=somebody{more}");
            self.post("/", "iam", &form, &body)
        };
        iam("CreateUser", "");
        let statement = json!({ "Effect": "Allow", "Action": action, "Resource": "*" });
        let policy = json!({ "Version": "2012-10-17", "Statement": [statement] }).to_string();
        let policy: String = policy.bytes().map(|byte| format!("%{byte:02X}")).collect();
        iam(
            "PutUserPolicy",
            &format!("&PolicyName=only&PolicyDocument={policy}"),
        );
        let answer = iam("CreateAccessKey", "");
        let field = |name: &str| {
            let (_, rest) = answer.split_once(&format!("<{name}>")).expect(name);
            rest.split_once('<').expect(name).0.to_owned()
        };
        let keys = (field("AccessKeyId"), field("SecretAccessKey"));
        self.post("/moto-api/reset-auth", "iam", &[], "0");
        keys
    }

    fn post(&self, path: &str, service: &str, headers: &[(&str, &str)], body: &str) -> String {
        let answer = self.call("POST", path, service, headers, body);
        String::from_utf8(answer).expect("moto answers with text")
    }

    fn call(
        &self,
        method: &str,
        path: &str,
        service: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Vec<u8> {
        let mut request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/\
             aws4_request, SignedHeaders=host, Signature=0\r\n",
            self.address,
            body.len()
        );
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        request.push_str("\r\n");
        request.push_str(body);
        let mut stream = TcpStream::connect(self.address).expect("moto accepts");
        stream.write_all(request.as_bytes()).expect("moto reads");
        let mut answer = Vec::new();
        match stream.read_to_end(&mut answer) {
            // It may close with something unread, which resets the connection: the answer has come before that.
            Err(error) if error.kind() == ErrorKind::ConnectionReset && !answer.is_empty() => {}
            read => drop(read.expect("moto answers")),
        }
        let end = answer
            .windows(4)
            .position(|four| four == b"\r\n\r\n")
            .expect("moto answers with HTTP");
        let body = answer.split_off(end + 4);
        let head = String::from_utf8_lossy(&answer);
        assert!(
            head.starts_with("HTTP/1.1 2"),
            "moto: {head}\n{}",
            String::from_utf8_lossy(&body)
        );
        body
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // By the process handle, so by its pid; already gone is fine.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listened on a moment ago.
///
/// # Panics
/// If loopback has no free port.
#[must_use]
pub fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("a listener has an address")
}
