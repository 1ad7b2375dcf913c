//! How slowly a client may take its answers.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// How long an answer may take at any rate.
const AT_FIRST: Duration = Duration::from_secs(30);
/// Bytes a second that a client must take after that.
const PER_SEC: f64 = 16.0 * 1024.0;

/// A stream whose reader at the other end must keep a pace. Answers are held in memory until they are
/// taken; a limit between two bytes alone would let them be taken one by one.
pub(super) struct Paced<S> {
    stream: S,
    /// Since when something has been waiting to be taken, and how much was.
    waiting: Option<Instant>,
    taken: usize,
}

impl<S> Paced<S> {
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            waiting: None,
            taken: 0,
        }
    }

    fn is_too_slow(&mut self, now: Instant) -> bool {
        let since = *self.waiting.get_or_insert(now);
        let passed = now.saturating_duration_since(since);
        let beyond = passed.saturating_sub(AT_FIRST).as_secs_f64();
        passed > AT_FIRST && (self.taken as f64) < beyond * PER_SEC
    }

    fn note(&mut self, written: &Poll<io::Result<usize>>) {
        if let Poll::Ready(Ok(count)) = written {
            self.taken += count;
        }
    }
}

fn too_slow<T>() -> Poll<io::Result<T>> {
    Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Paced<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.is_too_slow(Instant::now()) {
            return too_slow();
        }
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.is_too_slow(Instant::now()) {
            return too_slow();
        }
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// All has been taken over: the next answer begins anew.
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        if let Poll::Ready(Ok(())) = flushed {
            self.waiting = None;
            self.taken = 0;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Paced<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pace_must_be_kept_after_a_while() {
        let start = Instant::now();
        let secs = |n| start + Duration::from_secs(n);
        let mut slow = Paced::new(());
        assert!(!slow.is_too_slow(start));
        slow.taken = 100;
        assert!(!slow.is_too_slow(secs(30)));
        assert!(slow.is_too_slow(secs(31)));
        let mut fast = Paced::new(());
        for n in 0..300 {
            assert!(!fast.is_too_slow(secs(n)), "{n}");
            fast.taken += 17 * 1024;
        }
    }
}
