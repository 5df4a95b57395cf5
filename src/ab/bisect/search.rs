//! Which commit to try next.
//!
//! Main type: [`Suspects`]. It knows a graph and answers, no repository and no server. The commit that
//! halves what is left is tried, as git does it: then log₂ n answers do.

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Next {
    /// Try this commit.
    Try(usize),
    /// This is the one.
    Found(usize),
    /// It is one of these; the others among them could not be tried. In order, at least two.
    OneOf(Vec<usize>),
}

/// Commits that may be the first bad one.
#[derive(Debug, Clone)]
pub(super) struct Suspects {
    /// Of each commit, the places of its parents; ancestors come first.
    parents: Vec<Vec<usize>>,
    /// May be the first bad one.
    suspected: Vec<bool>,
    /// Cannot be tried, or gave no answer.
    skipped: Vec<bool>,
    /// Known to be bad, the earliest such.
    bad: usize,
}

impl Suspects {
    /// All commits of a range whose last one is bad. There is at least one.
    pub(super) fn of(parents: Vec<Vec<usize>>) -> Self {
        let count = parents.len();
        let bad = count.saturating_sub(1);
        let mut suspects =
            Self { parents, suspected: vec![true; count], skipped: vec![false; count], bad };
        suspects.slower(bad);
        suspects
    }

    /// How many are left.
    pub(super) fn left(&self) -> usize {
        self.suspected.iter().filter(|suspected| **suspected).count()
    }

    /// This commit is as slow as the bad one: it is what came before it, or itself.
    pub(super) fn slower(&mut self, commit: usize) {
        let within = self.ancestry(commit);
        for (suspected, within) in self.suspected.iter_mut().zip(within) {
            *suspected &= within;
        }
        self.bad = commit;
    }

    /// This commit is as fast as the good one: neither it nor what came before it.
    pub(super) fn not_slower(&mut self, commit: usize) {
        let within = self.ancestry(commit);
        for (suspected, within) in self.suspected.iter_mut().zip(within) {
            *suspected &= !within;
        }
        // The one that was measured as bad stays so.
        self.suspected[self.bad] = true;
    }

    /// This commit gave no answer.
    pub(super) fn skip(&mut self, commit: usize) {
        self.skipped[commit] = true;
    }

    /// What to do next.
    pub(super) fn next(&self) -> Next {
        let left = self.left();
        if left <= 1 {
            return Next::Found(self.bad);
        }
        let open = (0..self.parents.len())
            .filter(|place| self.suspected[*place] && !self.skipped[*place] && *place != self.bad);
        // The earliest of those that halve equally well.
        let best = open
            .map(|place| {
                let behind = self.ancestry(place);
                let count = behind
                    .iter()
                    .zip(&self.suspected)
                    .filter(|(in_it, open)| **in_it && **open)
                    .count();
                (count.min(left - count), place)
            })
            .max_by_key(|(halves, place)| (*halves, std::cmp::Reverse(*place)));
        match best {
            Some((_, place)) => Next::Try(place),
            None => Next::OneOf(self.list()),
        }
    }

    /// The suspects, in order.
    pub(super) fn list(&self) -> Vec<usize> {
        (0..self.parents.len()).filter(|place| self.suspected[*place]).collect()
    }

    /// The commit itself and all that came before it.
    fn ancestry(&self, commit: usize) -> Vec<bool> {
        let mut within = vec![false; self.parents.len()];
        let mut open = vec![commit];
        while let Some(place) = open.pop() {
            if !std::mem::replace(&mut within[place], true) {
                open.extend(&self.parents[place]);
            }
        }
        within
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(count: usize) -> Suspects {
        Suspects::of((0..count).map(|place| place.checked_sub(1).into_iter().collect()).collect())
    }

    /// Plays a search; `None` for commits that cannot be tried.
    fn search(mut suspects: Suspects, slower: impl Fn(usize) -> Option<bool>) -> (Next, usize) {
        for tries in 0.. {
            match suspects.next() {
                Next::Try(place) => match slower(place) {
                    Some(true) => suspects.slower(place),
                    Some(false) => suspects.not_slower(place),
                    None => suspects.skip(place),
                },
                end => return (end, tries),
            }
        }
        unreachable!("each try takes something away")
    }

    #[test]
    fn every_first_bad_commit_of_a_line_is_found_in_as_many_tries_as_there_are_bits() {
        for count in 1..70 {
            for first_bad in 0..count {
                let (end, tries) = search(line(count), |place| Some(place >= first_bad));
                assert_eq!(end, Next::Found(first_bad), "of {count}");
                assert!(tries <= (count as f64).log2().ceil() as usize, "{tries} of {count}");
            }
        }
    }

    #[test]
    fn what_cannot_be_tried_is_gone_round_and_named_where_it_matters() {
        let broken = |broken: &'static [usize], first_bad: usize| {
            search(line(8), move |place| (!broken.contains(&place)).then_some(place >= first_bad)).0
        };
        assert_eq!(broken(&[3], 6), Next::Found(6));
        assert_eq!(broken(&[3], 1), Next::Found(1));
        assert_eq!(broken(&[3], 4), Next::OneOf(vec![3, 4]));
        assert_eq!(broken(&[3], 3), Next::OneOf(vec![3, 4]));
        assert_eq!(broken(&[0, 1, 2, 3, 4, 5, 6], 5), Next::OneOf((0..8).collect()));
    }

    #[test]
    fn a_change_on_one_side_of_a_merge_is_found() {
        // 0 ─ 1 ─ 2 ─ 5 ─ 6
        //  └─ 3 ─ 4 ─┘
        let graph = vec![vec![], vec![0], vec![1], vec![0], vec![3], vec![2, 4], vec![5]];
        let contains = |place: usize, culprit: usize| {
            let mut open = vec![place];
            let graph: &[&[usize]] = &[&[], &[0], &[1], &[0], &[3], &[2, 4], &[5]];
            while let Some(place) = open.pop() {
                if place == culprit {
                    return true;
                }
                open.extend(graph[place]);
            }
            false
        };
        for culprit in 0..7 {
            let (end, _) =
                search(Suspects::of(graph.clone()), |place| Some(contains(place, culprit)));
            assert_eq!(end, Next::Found(culprit));
        }
    }
}
