//! For which request something is done, so that log lines can say so wherever it is done.
//!
//! A span would say it as well; but each takes a place in a table that all threads share, and is looked at
//! whenever a task is gone on with. This is one text of the task's own.

use std::{future::Future, sync::Arc};

use tracing::Instrument;

tokio::task_local! {
    static ID: Option<Arc<str>>;
}

/// Does `work` for the request of this id.
pub fn serve<F: Future>(id: Arc<str>, work: F) -> impl Future<Output = F::Output> {
    ID.scope(Some(id), work)
}

/// What `say` makes of the id of the request that the current task works for; `None` if it works for
/// none.
pub fn with_id<T>(say: impl FnOnce(&str) -> T) -> Option<T> {
    ID.try_with(|id| id.as_deref().map(say)).ok().flatten()
}

/// The same work for a task of its own, which then works for the same request, in the same span.
pub fn carried<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let id = ID.try_with(Option::clone).ok().flatten();
    // No `async` block, here and above: it would have a place for the work before it begins and another for
    // when it is under way.
    ID.scope(id, work.in_current_span())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_of_a_request_knows_it_and_no_other_does() {
        let id = || with_id(str::to_owned);
        assert_eq!(id(), None);
        let served = serve("r-1".into(), async move {
            let carried = tokio::spawn(carried(async move { id() })).await.unwrap();
            let other = tokio::spawn(async move { id() }).await.unwrap();
            (id(), carried, other)
        });
        let known = Some("r-1".to_owned());
        assert_eq!(served.await, (known.clone(), known, None));
        assert_eq!(
            tokio::spawn(carried(async move { id() })).await.unwrap(),
            None
        );
    }
}
