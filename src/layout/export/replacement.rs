//! Completes the replacements that killed exports began where the system cannot exchange two directories;
//! see [`TargetDir::exchange`](crate::layout::dir::target::TargetDir::exchange) for their states.

use crate::layout::dir::source::NotOpened;
use crate::layout::dir::target::{TargetDir, numbers_of};
use crate::layout::error::LayoutError;
use crate::layout::format::document::RuntimeDocument;
use crate::layout::format::names::{self, EXPORT_NEW_PREFIX, EXPORT_OLD_PREFIX};
use crate::layout::read::documents::Document;
use crate::model::identity::RuntimeId;
use serde::Deserialize;
use std::io::BufReader;

/// Completes or undoes every replacement in `runtimes`. Call it under the lock.
pub(crate) fn complete_all(runtimes: &TargetDir) -> Result<(), LayoutError> {
    let names = runtimes.names()?;
    let begun = |prefix: &'static str| {
        let numbers = names
            .iter()
            .filter_map(move |name| numbers_of(name, prefix));
        numbers.map(move |numbers| (numbers, format!("{prefix}{numbers}")))
    };
    for (numbers, name) in begun(EXPORT_NEW_PREFIX) {
        runtimes.complete_exchange(numbers, &place_of(runtimes, &name)?)?;
    }
    for (_, name) in begun(EXPORT_OLD_PREFIX) {
        // Unless it belonged to one of those.
        if runtimes.has(&name)? {
            runtimes.take_back(&name, &place_of(runtimes, &name)?)?;
        }
    }
    Ok(())
}

/// The name of the directory of the runtime that is in the directory `name`.
fn place_of(runtimes: &TargetDir, name: &str) -> Result<String, LayoutError> {
    #[derive(Deserialize)]
    struct Named {
        runtime_id: RuntimeId,
    }
    let dir = runtimes.open_dir(name)?;
    let unknown = |message: String| LayoutError::InTheWay {
        path: dir.path_of(RuntimeDocument::FILE),
        message: format!(
            "{message}: it is unknown which runtime a killed export replaced; move it away"
        ),
    };
    let file = match dir.as_source().open_file(RuntimeDocument::FILE) {
        Ok(file) => file,
        Err(NotOpened::Io(source)) => {
            return Err(LayoutError::io("open", dir.path_of(RuntimeDocument::FILE))(
                source,
            ));
        }
        Err(NotOpened::Missing) => return Err(unknown("no such file".to_owned())),
        Err(NotOpened::File) => return Err(unknown("this is a file".to_owned())),
        Err(NotOpened::Other(what)) => return Err(unknown(format!("this is {what}"))),
    };
    let named: Named = serde_json::from_reader(BufReader::new(file))
        .map_err(|error| unknown(error.to_string()))?;
    Ok(names::encode(named.runtime_id.as_str()))
}
