//! What comes in, and never by an argument: other users of the machine can see those.

use std::{
    fs::File,
    io::{self, IsTerminal, Read},
    path::PathBuf,
};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::exit::Failure;
use crate::complain;

/// Larger than any value that a server takes, in bytes.
const MOST_BYTES: u64 = 1024 * 1024;

/// Where a value comes from.
#[derive(clap::Args)]
pub(crate) struct Source {
    /// Read the value from this file, as it is. Without it: from standard input.
    #[arg(long, value_name = "FILE")]
    pub(crate) file: Option<PathBuf>,
    /// Caught, so that a value given as an argument is refused without being repeated.
    #[arg(hide = true, num_args = 0.., allow_hyphen_values = true)]
    pub(crate) extra: Vec<std::ffi::OsString>,
}

impl Source {
    /// The value, byte for byte; typed on a terminal, it ends with the line.
    pub(crate) async fn value(&self, prompt: &str) -> Result<Zeroizing<String>, Failure> {
        if !self.extra.is_empty() {
            return Err(Failure::Usage(
                "no value is taken from arguments, which others can see: give it on standard input, or \
                 with --file"
                    .to_owned(),
            ));
        }
        let Some(path) = &self.file else {
            return from_stdin(prompt).await;
        };
        let wrong = |error: io::Error| Failure::Usage(format!("{}: {error}", path.display()));
        read(File::open(path).map_err(wrong)?).map_err(wrong)
    }
}

fn read(from: impl Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    from.take(MOST_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// All of standard input; a line without echo if that is a terminal.
pub(crate) async fn from_stdin(prompt: &str) -> Result<Zeroizing<String>, Failure> {
    let failed = |error: io::Error| Failure::Failed(format!("standard input: {error}"));
    if !io::stdin().is_terminal() {
        return read(io::stdin().lock()).map_err(failed);
    }
    let silence = Silence::begin().map_err(|error| failed(error.into()))?;
    complain!("{prompt} (not shown):");
    let line = tokio::task::spawn_blocking(|| {
        let mut line = Zeroizing::new(String::new());
        io::stdin().read_line(&mut line).map(|_| line)
    });
    let line = tokio::select! {
        line = line => line,
        _ = tokio::signal::ctrl_c() => {
            drop(silence);
            return Err(Failure::Interrupted("nothing was done".to_owned()));
        }
    };
    let line = line.map_err(|error| failed(io::Error::other(error)))?;
    let line = line.map_err(failed)?;
    Ok(Zeroizing::new(
        line.trim_end_matches(['\r', '\n']).to_owned(),
    ))
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Silence(Termios);

impl Silence {
    fn begin() -> rustix::io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut silent = before.clone();
        silent.local_modes.remove(LocalModes::ECHO);
        tcsetattr(io::stdin(), OptionalActions::Flush, &silent)?;
        Ok(Self(before))
    }
}

impl Drop for Silence {
    fn drop(&mut self) {
        // The terminal may be gone.
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}
