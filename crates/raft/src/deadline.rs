//! What damage may make panic or take for ever, done on a thread of its own.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::open_error::OpenError;

/// How long opening may take before it counts as hanging.
const OPEN_DEADLINE: Duration = Duration::from_secs(120);

/// Does on a thread of its own what damage may make panic or take for ever: the one is damage then, and so is the
/// other an error.
pub(crate) fn within_deadline<T: Send + 'static>(
    dir: &Path,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, OpenError> {
    let (done, opened) = mpsc::channel();
    let work = move || {
        let result = catch_unwind(AssertUnwindSafe(work));
        // Nobody listens any more: it took longer than the deadline, and that is the answer.
        let _ = done.send(result);
    };
    thread::Builder::new()
        .name("store-open".to_owned())
        .spawn(work)
        .map_err(OpenError::io(dir))?;
    match opened.recv_timeout(OPEN_DEADLINE) {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(_panic)) => Err(OpenError::Corrupt {
            path: dir.to_owned(),
            reason: "reading it back failed an internal check".to_owned(),
        }),
        Err(_) => Err(OpenError::Hangs(dir.to_owned())),
    }
}
