//! A heap that forgets: every block is zeroed before it is given back.
//!
//! Values pass through buffers that are not ours to zeroize: hyper's read and write buffers, serde's
//! scratch space, the AWS SDK's. Types in `seal` zeroize themselves; this catches the rest.
//!
//! This is one of the places where `unsafe` is allowed (`docs/ARCHITECTURE.md` lists them): an
//! allocator cannot be written without it.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{Ordering, compiler_fence},
};

/// The system's allocator, zeroing blocks when they are freed.
///
/// `realloc` is the default one (allocate, copy, free), so that a block that moves is zeroed too.
pub(crate) struct ForgetfulHeap;

// SAFETY: blocks come from and go back to `System` with the layout they were asked for.
unsafe impl GlobalAlloc for ForgetfulHeap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller upholds `GlobalAlloc::alloc`'s contract, which is `System`'s.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives back a block of this layout, so `layout.size()` bytes are ours
        // until `System` has them. The fence and the opaque pointer keep the compiler from dropping
        // writes to memory that is about to be freed.
        unsafe {
            std::ptr::write_bytes(std::hint::black_box(block), 0, layout.size());
            compiler_fence(Ordering::SeqCst);
            System.dealloc(block, layout);
        }
    }
}
