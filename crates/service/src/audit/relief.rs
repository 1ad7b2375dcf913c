//! A request's own write that hangs holds up a thread of its runtime. That thread may be the one that waits for the
//! network and the clock on behalf of all: tokio passes this on only when somebody wakes another thread. So somebody does.

use std::{
    sync::{Weak, atomic::Ordering},
    time::Duration,
};

use tokio::{runtime::Handle, time::sleep};

use super::desk::Desk;

/// How often is looked, and how long a write may take until then.
const LOOK: Duration = Duration::from_millis(100);

/// Wakes a thread of `runtime` as long as an operation on the trail takes long. To be done on another runtime. Ends
/// with the trail.
pub(super) async fn relieve(desk: Weak<Desk>, runtime: Handle) {
    loop {
        sleep(LOOK).await;
        let Some(desk) = desk.upgrade() else { return };
        let since = desk.shared.busy_since.load(Ordering::Acquire);
        let busy = desk.clock.millis().saturating_sub(since);
        if since > 0 && u128::from(busy) >= LOOK.as_millis() {
            runtime.spawn(async {});
        }
    }
}
