//! A gate on the way to a PostgreSQL server, which follows the protocol far enough to stop a session at
//! one step of a password's change.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, tcp::OwnedReadHalf},
    sync::mpsc,
};

use crate::node::free_port;

/// Where a session is stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The transaction is asked for, and the server does not hear of it.
    Begin,
    /// The transaction has begun, and the answer has just been passed on. The session goes on.
    Begun,
    /// The change is asked for, and the server does not hear of it.
    Change,
    /// The server has made the change, and nobody hears of it.
    Changed,
    /// The commit is asked for, and the server does not hear of it.
    Commit,
    /// The server has committed, and nobody hears of it.
    Committed,
    /// The server has committed, and its answer has just been passed on. The session goes on.
    Answered,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 7] = [
        Self::Begin,
        Self::Begun,
        Self::Change,
        Self::Changed,
        Self::Commit,
        Self::Committed,
        Self::Answered,
    ];

    /// The word in a statement that leads to it.
    fn word(self) -> &'static [u8] {
        match self {
            Self::Begin | Self::Begun => b"BEGIN",
            Self::Change | Self::Changed => b"ALTER ROLE",
            Self::Commit | Self::Committed | Self::Answered => b"COMMIT",
        }
    }
}

/// A listener in front of a server. Its sessions end with it.
pub struct Gate {
    /// Its port on 127.0.0.1.
    pub port: u16,
    trap: Arc<Mutex<Option<Step>>>,
    stopped: mpsc::UnboundedReceiver<Step>,
    accepting: tokio::task::JoinHandle<()>,
}

impl Gate {
    /// A gate to the server at `port`, open.
    pub async fn to(port: u16) -> Self {
        let own = free_port();
        let listener = TcpListener::bind(("127.0.0.1", own)).await.expect("a port");
        let trap = Arc::new(Mutex::new(None));
        let (tell, stopped) = mpsc::unbounded_channel();
        let held = Arc::clone(&trap);
        let accepting = tokio::spawn(async move {
            let mut sessions = tokio::task::JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                let (trap, tell) = (Arc::clone(&held), tell.clone());
                sessions.spawn(async move {
                    if let Ok(server) = TcpStream::connect(("127.0.0.1", port)).await {
                        session(client, server, trap, tell).await.ok();
                    }
                });
            }
        });
        Self {
            port: own,
            trap,
            stopped,
            accepting,
        }
    }

    /// The next session that comes to this step is stopped there, and none after it.
    pub fn stop_at(&self, step: Step) {
        *self.trap.lock().expect("a trap") = Some(step);
    }

    /// Lets every session pass again.
    pub fn open(&self) {
        *self.trap.lock().expect("a trap") = None;
    }

    /// Waits until a session has been stopped.
    pub async fn stopped(&mut self) -> Step {
        self.stopped.recv().await.expect("the gate stands")
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn session(
    client: TcpStream,
    server: TcpStream,
    trap: Arc<Mutex<Option<Step>>>,
    tell: mpsc::UnboundedSender<Step>,
) -> std::io::Result<()> {
    let (mut from_client, mut to_client) = client.into_split();
    let (from_server, mut to_server) = server.into_split();
    // The first message has no type.
    let first = message(&mut from_client, false).await?;
    to_server.write_all(&first).await?;
    let (mut questions, mut answers) = (messages(from_client), messages(from_server));
    let mut here = None;
    loop {
        tokio::select! {
            asked = questions.recv() => {
                let Some(asked) = asked else { return Ok(()) };
                here = trapped(&asked, &trap);
                match here {
                    Some(Step::Begin | Step::Change | Step::Commit) => break,
                    _ => to_server.write_all(&asked).await?,
                }
            }
            answer = answers.recv() => {
                let Some(answer) = answer else { return Ok(()) };
                // The server is done when it is ready for the next query.
                let done = answer.first() == Some(&b'Z');
                match here {
                    Some(Step::Changed | Step::Committed) if done => break,
                    Some(Step::Changed | Step::Committed) => {}
                    _ => to_client.write_all(&answer).await?,
                }
                if done && let Some(step) = here.take() {
                    tell.send(step).ok();
                }
            }
        }
    }
    if let Some(step) = here {
        tell.send(step).ok();
    }
    // Nothing more is said to anybody until the client is gone; then the server's end goes as well.
    while questions.recv().await.is_some() {}
    Ok(())
}

/// What an end says, message by message, until it is gone.
fn messages(mut from: OwnedReadHalf) -> mpsc::Receiver<Vec<u8>> {
    let (tell, messages) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok(message) = message(&mut from, true).await {
            if tell.send(message).await.is_err() {
                break;
            }
        }
    });
    messages
}

/// Whether the session is to be stopped at this question; then no other is.
fn trapped(asked: &[u8], trap: &Mutex<Option<Step>>) -> Option<Step> {
    trap.lock().expect("a trap").take_if(|step| {
        let word = step.word();
        asked.first() == Some(&b'Q') && asked.windows(word.len()).any(|part| part == word)
    })
}

/// One message of the protocol: a type but for the first, a length that counts itself, a body.
async fn message(from: &mut OwnedReadHalf, typed: bool) -> std::io::Result<Vec<u8>> {
    let mut head = vec![0; if typed { 5 } else { 4 }];
    from.read_exact(&mut head).await?;
    let length = head.last_chunk::<4>().copied().expect("a length");
    let length = usize::try_from(u32::from_be_bytes(length)).expect("a length") - 4;
    let at = head.len();
    head.resize(at + length, 0);
    from.read_exact(&mut head[at..]).await?;
    Ok(head)
}
