//! SIGTERM and SIGINT: the process ends gracefully.

use std::thread;

use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
    sync::watch,
};

use crate::RunError;

/// Sets `told` to true at the first SIGTERM or SIGINT, and ends the process at the second. Listens on a
/// thread of its own.
///
/// # Errors
/// [`RunError::Failed`] if the thread or the handlers cannot be made.
pub fn stop_on_signal(told: watch::Sender<bool>) -> Result<(), RunError> {
    let failed =
        |error: std::io::Error| RunError::Failed(format!("cannot handle signals: {error}"));
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(failed)?;
    let (mut terminate, mut interrupt) = {
        let _inside = runtime.enter();
        let terminate = signal(SignalKind::terminate()).map_err(failed)?;
        (terminate, signal(SignalKind::interrupt()).map_err(failed)?)
    };
    let wait = move || {
        for told_before in [false, true] {
            runtime.block_on(async {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
            });
            if told_before {
                // Whoever says it twice does not want to wait. What is acknowledged is on the disk.
                tracing::warn!("told to stop a second time: ending at once");
                std::process::exit(1);
            }
            // Nobody listens once the server has ended by itself.
            let _ = told.send(true);
        }
    };
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(wait)
        .map_err(failed)?;
    Ok(())
}
