//! A bounded pool of pages that fragments' payloads are kept in.

use std::num::NonZeroU32;

/// Bytes in a page: an Ethernet fragment and the headers of its datagram fit one.
pub(super) const PAGE_LENGTH: usize = 2048;

/// A page taken from the pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageId(NonZeroU32);

impl PageId {
    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// The pool. Pages are allocated when first needed and never given back to the system.
#[derive(Debug)]
pub(super) struct Pages {
    /// Each on its own, so that none moves when there are more.
    pages: Vec<Box<[u8]>>,
    free: Vec<PageId>,
    limit: usize,
}

impl Pages {
    pub(super) fn new(limit: usize) -> Pages {
        Pages { pages: Vec::new(), free: Vec::new(), limit }
    }

    /// How many pages can still be taken.
    pub(super) fn available(&self) -> usize {
        self.free.len() + self.limit.saturating_sub(self.pages.len())
    }

    /// How many pages have ever been needed at once.
    #[cfg(test)]
    pub(super) fn allocated(&self) -> usize {
        self.pages.len()
    }

    /// A page with whatever it held before; `None` where the limit is reached.
    pub(super) fn take(&mut self) -> Option<PageId> {
        if let Some(id) = self.free.pop() {
            return Some(id);
        }
        if self.pages.len() >= self.limit {
            return None;
        }
        self.pages.push(vec![0; PAGE_LENGTH].into_boxed_slice());
        NonZeroU32::new(self.pages.len() as u32).map(PageId)
    }

    pub(super) fn give_back(&mut self, id: PageId) {
        debug_assert!(!self.free.contains(&id));
        self.free.push(id);
    }

    pub(super) fn page(&self, id: PageId) -> &[u8] {
        &self.pages[id.index()]
    }

    pub(super) fn page_mut(&mut self, id: PageId) -> &mut [u8] {
        &mut self.pages[id.index()]
    }
}
