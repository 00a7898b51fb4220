//! Reports in a browser: their text, geometry and colours are read back from the page.

mod checks;
mod devtools;
mod reports;
mod stores;
