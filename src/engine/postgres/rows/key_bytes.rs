//! The size of a key, as a redb file has it: a policy by bytes removes the same rows from a store on a server.

/// The bytes of a part of a key that another part follows. Its length stands before it.
pub(crate) const fn part_bytes(length: usize) -> usize {
    length
        + match length {
            0..254 => 1,
            254..65_536 => 3,
            _ => 5,
        }
}

/// The same in SQL, for a column.
macro_rules! part_bytes_sql {
    ($column:literal) => {
        concat!(
            "length(",
            $column,
            ") + CASE WHEN length(",
            $column,
            ") < 254 THEN 1 WHEN length(",
            $column,
            ") < 65536 THEN 3 ELSE 5 END"
        )
    };
}
pub(crate) use part_bytes_sql;

#[cfg(test)]
mod tests {
    use super::part_bytes;
    use redb::Value;

    #[test]
    fn key_has_the_bytes_of_one_in_a_file() {
        for length in [0, 1, 253, 254, 65_535, 65_536] {
            let part = "x".repeat(length);
            let in_file = <(&str, &str, u64) as Value>::as_bytes(&("id", &part, 7));
            let of_id = part_bytes(2);
            assert_eq!(of_id + part_bytes(length) + 8, in_file.len(), "{length}");
            let in_file = <(&str, &str) as Value>::as_bytes(&(&part, "last"));
            assert_eq!(part_bytes(length) + 4, in_file.len(), "{length}");
        }
    }
}
