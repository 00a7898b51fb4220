//! A page for each task.

#[doc = include_str!("../docs/moving-over.md")]
pub mod moving_over {}

#[doc = include_str!("../docs/directory-forms.md")]
pub mod directory_forms {}

#[doc = include_str!("../docs/from-the-directory-store.md")]
pub mod from_the_directory_store {}

#[doc = include_str!("../docs/transactions.md")]
pub mod transactions {}

#[doc = include_str!("../docs/replies.md")]
pub mod replies {}

#[doc = include_str!("../docs/following.md")]
pub mod following {}

#[doc = include_str!("../docs/deletion.md")]
pub mod deletion {}

#[doc = include_str!("../docs/retention.md")]
pub mod retention {}

#[doc = include_str!("../docs/backup.md")]
pub mod backup {}

#[doc = include_str!("../docs/after-a-crash.md")]
pub mod after_a_crash {}

#[doc = include_str!("../docs/errors.md")]
pub mod errors {}
