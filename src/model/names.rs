//! The names of the values of the model's enums: those of the layout's JSON.

/// Gives an enum its names: `as_str`, `Display` and `FromStr`.
macro_rules! named {
    ($type:ident, $what:literal, $($value:ident => $name:literal),+ $(,)?) => {
        impl $type {
            /// All values, in the order of their declaration.
            pub const ALL: &'static [Self] = &[$(Self::$value),+];

            /// The name, as the JSON of the layout has it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$value => $name),+
                }
            }
        }

        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl std::str::FromStr for $type {
            type Err = crate::model::names::UnknownName;

            fn from_str(name: &str) -> Result<Self, Self::Err> {
                let found = Self::ALL.iter().find(|value| value.as_str() == name);
                found.copied().ok_or_else(|| crate::model::names::UnknownName {
                    what: $what,
                    name: name.to_owned(),
                    known: [$($name),+].join(", "),
                })
            }
        }
    };
}
pub(crate) use named;

use crate::model::visible::Visible;

/// A text that is no name of a value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is no {what}; known are {known}", Visible(name))]
pub struct UnknownName {
    /// The kind of value, such as `status of a worker`.
    pub(crate) what: &'static str,
    /// The text.
    pub(crate) name: String,
    /// The names of all values.
    pub(crate) known: String,
}

#[cfg(test)]
mod tests {
    use crate::model::catalog::WorkerStatus;
    use crate::model::diagnostics::DiagnosticSeverity;
    use crate::model::interaction::{TranscriptRole, WorkerInputKind};
    use crate::model::management::{RuntimeBackendKind, RuntimeStatus};
    use crate::model::observation::RuntimeEventKind;
    use serde_json::{Value, json};

    /// Asserts that each value of a type has the name of its JSON, and is found by it.
    macro_rules! assert_named {
        ($type:ty) => {
            for value in <$type>::ALL {
                let json = match serde_json::to_value(value).unwrap() {
                    Value::Object(members) => members["kind"].clone(),
                    name => name,
                };
                assert_eq!(json, json!(value.to_string()));
                assert_eq!(value.as_str().parse(), Ok(*value));
            }
            let error = "?\n".parse::<$type>().unwrap_err().to_string();
            assert!(error.starts_with("?\\n is no "), "{error}");
        };
    }

    #[test]
    fn names_are_those_of_the_json() {
        assert_named!(WorkerStatus);
        assert_named!(RuntimeStatus);
        assert_named!(RuntimeBackendKind);
        assert_named!(TranscriptRole);
        assert_named!(WorkerInputKind);
        assert_named!(RuntimeEventKind);
        assert_named!(DiagnosticSeverity);
        assert_eq!(format!("[{:>9}]", WorkerStatus::Running), "[  running]");
    }
}
