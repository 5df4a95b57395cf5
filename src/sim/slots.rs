//! The slots: which of them a request gets, and what is left in its cache from the last one.
//!
//! Main type: [`Slots`]. It knows nothing about time or sockets.

/// A request takes the slot that shares more than this part of its prompt, else the least recently
/// used one (llama-server's `--slot-prompt-similarity`).
const SIMILAR: f64 = 0.1;

/// All slots.
pub(super) struct Slots {
    slots: Vec<Slot>,
    /// Counted along, since every token asks for it.
    busy: usize,
    uses: u64,
}

/// One slot.
#[derive(Debug, Clone, Default)]
pub(super) struct Slot {
    /// The job that has it.
    pub(super) job: Option<u64>,
    /// The last job that had it.
    pub(super) last_job: Option<u64>,
    /// Tokens in its cache while it is free.
    cache: Vec<u32>,
    /// Order of the last uses; 0 is never.
    used: u64,
}

impl Slots {
    /// So many free slots with empty caches.
    pub(super) fn new(count: u32) -> Slots {
        Slots { slots: vec![Slot::default(); count as usize], busy: 0, uses: 0 }
    }

    /// The slots in the order of their ids.
    pub(super) fn all(&self) -> &[Slot] {
        &self.slots
    }

    /// How many are busy.
    pub(super) fn busy(&self) -> usize {
        self.busy
    }

    /// Whether a request that asks for this slot (or for any) can begin.
    pub(super) fn is_free(&self, wanted: Option<u32>) -> bool {
        match wanted {
            Some(id) => self.slots.get(id as usize).is_none_or(|slot| slot.job.is_none()),
            None => self.busy < self.slots.len(),
        }
    }

    /// Gives a free slot to a job; the slot's id and how many tokens of the prompt it has cached.
    ///
    /// Like a real server it works at least on the last token of the prompt again.
    pub(super) fn take(
        &mut self,
        job: u64,
        prompt: &[u32],
        wanted: Option<u32>,
        use_cache: bool,
    ) -> (u32, u64) {
        let free = || self.slots.iter().enumerate().filter(|(_, slot)| slot.job.is_none());
        let asked = wanted.map(|id| id as usize).filter(|&id| id < self.slots.len());
        let similar = || {
            free()
                .map(|(id, slot)| (common_prefix(&slot.cache, prompt), id))
                .filter(|&(common, _)| common as f64 > SIMILAR * prompt.len() as f64)
                // Of equals the lower id, so that the choice does not depend on the iterator.
                .max_by_key(|&(common, id)| (common, std::cmp::Reverse(id)))
                .map(|(_, id)| id)
        };
        let oldest = || free().min_by_key(|(id, slot)| (slot.used, *id)).map(|(id, _)| id);
        let id = asked
            .or_else(similar)
            .or_else(oldest)
            .expect("the caller asked whether a slot is free");
        self.uses += 1;
        self.busy += 1;
        let uses = self.uses;
        let slot = &mut self.slots[id];
        let common = if use_cache { common_prefix(&slot.cache, prompt) } else { 0 };
        let cached = common.min(prompt.len().saturating_sub(1));
        slot.job = Some(job);
        slot.last_job = Some(job);
        slot.used = uses;
        (u32::try_from(id).expect("slots are counted in u32"), cached as u64)
    }

    /// Frees a slot and leaves these tokens in its cache.
    pub(super) fn release(&mut self, id: u32, cache: Vec<u32>) {
        if let Some(slot) = self.slots.get_mut(id as usize) {
            self.busy -= usize::from(slot.job.take().is_some());
            slot.cache = cache;
        }
    }
}

impl Slot {
    /// How many tokens its cache holds.
    pub(super) fn cached_tokens(&self) -> usize {
        self.cache.len()
    }
}

fn common_prefix(a: &[u32], b: &[u32]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_prompt_returns_to_its_slot_and_all_but_one_token_is_cached() {
        let mut slots = Slots::new(2);
        assert_eq!(slots.take(1, &[1, 2, 3, 4], None, true), (0, 0));
        assert_eq!(slots.take(2, &[9, 9], None, true), (1, 0));
        assert!(!slots.is_free(None));
        slots.release(0, vec![1, 2, 3, 4, 50]);
        slots.release(1, vec![9, 9]);
        assert_eq!(slots.take(3, &[1, 2, 3, 4], None, true), (0, 3));
        slots.release(0, vec![1, 2, 3, 4, 50]);
        assert_eq!(slots.take(4, &[1, 2, 3, 4], None, false), (0, 0), "cache_prompt false");
    }

    #[test]
    fn a_strange_prompt_takes_the_least_recently_used_slot() {
        let mut slots = Slots::new(3);
        for job in 1..=3 {
            let (id, _) = slots.take(job, &[job as u32; 20], None, true);
            slots.release(id, vec![job as u32; 20]);
        }
        assert_eq!(slots.take(4, &[7; 20], None, true).0, 0);
        assert_eq!(slots.take(5, &[8; 20], None, true).0, 1);
    }

    #[test]
    fn a_request_may_name_its_slot() {
        let mut slots = Slots::new(2);
        assert_eq!(slots.take(1, &[1], Some(1), true).0, 1);
        assert!(!slots.is_free(Some(1)) && slots.is_free(Some(0)) && slots.is_free(None));
        assert_eq!(slots.busy(), 1);
    }
}
