//! The preferences of a round of generations: those of any round, and those that find a planted bug.

use crate::image::{ANY_LOSSES, HeaderLoss, Losses, PageLoss, Timeline};
use crate::pages::Pages;
use crate::rng::Rng;
use redb_runtime_store::store::PlantedBug;

/// The preferences of a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mood {
    pub(crate) compacts: bool,
    pub(crate) is_large: bool,
    pub(crate) grows: bool,
    /// In percent: generations with a sync that fails, and opens with one.
    pub(crate) fails: usize,
    /// Whether the power is lost in the first commits after the recovery, except where a generation begins.
    pub(crate) is_early: bool,
    /// Whether the power is always lost right after a write of the header.
    pub(crate) at_headers: bool,
    /// The losses of images, and of the one that begins the next generation. `None`: any, also those that
    /// treat the header as other pages.
    losses: Option<[Losses; 2]>,
}

const WHOLE_HEADER: &[HeaderLoss] = &[HeaderLoss::Whole];

/// Losses that spare the header.
const PAGES_LOST: Losses = Losses {
    headers: WHOLE_HEADER,
    pages: &[PageLoss::Share(0), PageLoss::Share(50)],
};

const NOTHING_LOST: Losses = Losses {
    headers: WHOLE_HEADER,
    pages: &[PageLoss::Share(100)],
};

const ONE_PAGE_LOST: Losses = Losses {
    headers: WHOLE_HEADER,
    pages: &[PageLoss::One],
};

/// Of the header only the flags are on disk.
const FLAGS_WITHOUT_SLOT: Losses = Losses {
    headers: &[HeaderLoss::LastFlags],
    pages: &[PageLoss::Share(0), PageLoss::Share(100)],
};

/// The flags of the header are on disk, and nothing else.
const ONLY_FLAGS: Losses = Losses {
    headers: &[HeaderLoss::LastFlags],
    pages: &[PageLoss::Share(0)],
};

/// All except the flags is on disk.
const SLOT_WITHOUT_FLAGS: Losses = Losses {
    headers: &[HeaderLoss::AllButFlags],
    pages: &[PageLoss::Share(100)],
};

impl Mood {
    pub(crate) fn any(seed: u64, rng: &mut Rng) -> Self {
        Self {
            compacts: rng.chance(70),
            is_large: seed % 10 == 7,
            grows: false,
            fails: *rng.pick(&[0, 30, 60]),
            is_early: false,
            at_headers: false,
            losses: None,
        }
    }

    /// The preferences that find a bug of the commit protocol soon.
    pub(crate) fn directed(bug: PlantedBug) -> Self {
        let (fails, losses) = match bug {
            PlantedBug::PagesNotRewritten | PlantedBug::RecoveryOneSync => {
                (60, [PAGES_LOST, PAGES_LOST])
            }
            PlantedBug::SlotNotRewritten => (90, [FLAGS_WITHOUT_SLOT, NOTHING_LOST]),
            PlantedBug::DescentTooShort => (0, [ONE_PAGE_LOST, NOTHING_LOST]),
            PlantedBug::OlderPrimary => (0, [FLAGS_WITHOUT_SLOT, NOTHING_LOST]),
            PlantedBug::AbandonedSlotKept => (0, [ONLY_FLAGS, SLOT_WITHOUT_FLAGS]),
            PlantedBug::GrowthUnsynced => (0, [NOTHING_LOST, NOTHING_LOST]),
            PlantedBug::PrimaryTrusted | PlantedBug::MarkLost => (0, [PAGES_LOST, NOTHING_LOST]),
        };
        Self {
            compacts: false,
            is_large: false,
            grows: bug == PlantedBug::GrowthUnsynced,
            fails,
            // Later commits write over the pages of the one that was given up.
            is_early: bug == PlantedBug::AbandonedSlotKept,
            at_headers: matches!(
                bug,
                PlantedBug::AbandonedSlotKept | PlantedBug::SlotNotRewritten
            ),
            losses: Some(losses),
        }
    }

    pub(crate) fn image(
        &self,
        timeline: &Timeline,
        changes: usize,
        continues: bool,
        rng: &mut Rng,
    ) -> Pages {
        match self.losses {
            Some(losses) => timeline.worst(changes, losses[usize::from(continues)], rng),
            None if rng.chance(75) => timeline.worst(changes, ANY_LOSSES, rng),
            None => timeline.image(changes, rng),
        }
    }
}
