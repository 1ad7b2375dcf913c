//! A gate on the way to KMS: it lets calls through, holds them, cuts them off or answers in KMS's
//! place, and counts them.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;

use super::{
    Api,
    amend::with_fields,
    stub::{complete, error_answer},
};

/// What happens to a call at the gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Mode {
    /// It goes through.
    Pass,
    /// It goes through after a while.
    Slow(Duration),
    /// It is taken and never answered, not even when the mode changes.
    Hold,
    /// The connection ends.
    Cut,
    /// The gate answers with this status and AWS error code.
    Error(u16, &'static str),
}

/// A gate in front of moto. Lives as long as the process.
#[derive(Clone)]
pub struct Gate {
    address: SocketAddr,
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    mode: Mode,
    special: Vec<(String, Mode)>,
    asked_with: Vec<(&'static str, Value)>,
    answered_with: Vec<(&'static str, Value)>,
    calls: BTreeMap<String, usize>,
}

impl Gate {
    /// A gate that lets everything through to `moto`.
    ///
    /// # Panics
    /// If loopback has no free port.
    #[must_use]
    pub fn before(moto: Api) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let inner = Arc::new(Mutex::new(Inner {
            mode: Mode::Pass,
            special: Vec::new(),
            asked_with: Vec::new(),
            answered_with: Vec::new(),
            calls: BTreeMap::new(),
        }));
        let gate = Self { address, inner };
        let keeper = gate.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let keeper = keeper.clone();
                thread::spawn(move || keeper.keep(stream, moto.address));
            }
        });
        gate
    }

    /// The endpoint, for `AWS_ENDPOINT_URL_KMS`.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on.
    pub fn set(&self, mode: Mode) {
        self.lock().mode = mode;
    }

    /// From now on, calls in which `text` stands get this AWS error code.
    pub fn refuse(&self, text: &str, code: &'static str) {
        self.treat(text, Mode::Error(400, code));
    }

    /// From now on, for calls in which `text` stands.
    pub fn treat(&self, text: &str, mode: Mode) {
        self.lock().special.push((text.to_owned(), mode));
    }

    /// Treats all calls alike again.
    pub fn treat_all_alike(&self) {
        self.lock().special.clear();
    }

    /// From now on, requests for `call` have these fields as well.
    pub fn ask_with(&self, call: &'static str, fields: Value) {
        self.lock().asked_with.push((call, fields));
    }

    /// From now on, answers to `call` have these fields as well, and no earlier ones.
    pub fn answer_with(&self, call: &'static str, fields: Value) {
        let answered_with = &mut self.lock().answered_with;
        answered_with.retain(|(other, _)| *other != call);
        answered_with.push((call, fields));
    }

    /// How many requests for `call` arrived, retries included.
    #[must_use]
    pub fn calls(&self, call: &str) -> usize {
        self.lock().calls.get(call).copied().unwrap_or(0)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One connection. It ends with its client, or on any trouble.
    fn keep(&self, mut client: TcpStream, moto: SocketAddr) -> Option<()> {
        loop {
            let mut request = message(&mut client)?;
            let call = target(&request);
            let (mode, more) = {
                let mut inner = self.lock();
                *inner.calls.entry(call.clone()).or_default() += 1;
                let text = String::from_utf8_lossy(&request);
                let special = inner.special.iter().find(|(what, _)| text.contains(what));
                let mode = special.map_or(&inner.mode, |(_, mode)| mode).clone();
                (mode, fields_for(&inner.asked_with, &call))
            };
            if let Some(fields) = more {
                request = with_fields(&request, &fields);
            }
            match mode {
                Mode::Pass => {}
                Mode::Slow(delay) => thread::sleep(delay),
                Mode::Hold => return hold(&mut client),
                Mode::Cut => return None,
                Mode::Error(status, code) => {
                    let answer = error_answer(status, code);
                    client.write_all(answer.as_bytes()).ok()?;
                    return None;
                }
            }
            let mut upstream = TcpStream::connect(moto).ok()?;
            upstream.write_all(&request).ok()?;
            let mut answer = message(&mut upstream)?;
            if let Some(fields) = fields_for(&self.lock().answered_with, &call) {
                answer = with_fields(&answer, &fields);
            }
            client.write_all(&answer).ok()?;
            let head = String::from_utf8_lossy(&answer).to_ascii_lowercase();
            if head.contains("\r\nconnection: close\r\n") {
                return None;
            }
        }
    }
}

/// Answers nothing until the client gives up.
pub(crate) fn hold(client: &mut TcpStream) -> Option<()> {
    while client.read(&mut [0; 1024]).ok()? > 0 {}
    None
}

fn fields_for(all: &[(&'static str, Value)], call: &str) -> Option<Value> {
    let found = all.iter().find(|(of, _)| *of == call);
    found.map(|(_, fields)| fields.clone())
}

/// A whole message, or nothing.
pub(crate) fn message(stream: &mut TcpStream) -> Option<Vec<u8>> {
    let (mut seen, mut buffer) = (Vec::new(), [0; 4096]);
    while !complete(&seen) {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return None,
            Ok(n) => seen.extend(buffer.iter().take(n)),
        }
    }
    Some(seen)
}

/// The call that a request names.
pub(crate) fn target(request: &[u8]) -> String {
    let text = String::from_utf8_lossy(request);
    let named = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("x-amz-target")
            .then(|| value.trim().to_owned())
    });
    let named = named.unwrap_or_default();
    named.rsplit('.').next().unwrap_or_default().to_owned()
}
