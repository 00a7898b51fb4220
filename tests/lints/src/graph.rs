//! Circles of a graph.

use std::collections::{BTreeMap, BTreeSet};

/// Every set of two or more nodes that reach each other, sorted.
pub(crate) fn circles(edges: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<Vec<String>> {
    let reach: BTreeMap<&str, BTreeSet<&str>> = edges
        .keys()
        .map(|node| (*node, reachable(edges, node)))
        .collect();
    let mut done = BTreeSet::new();
    let mut circles = Vec::new();
    for (node, reached) in &reach {
        if !reached.contains(node) || done.contains(node) {
            continue;
        }
        let circle: Vec<&str> = reached
            .iter()
            .copied()
            .filter(|other| reach.get(other).is_some_and(|back| back.contains(node)))
            .collect();
        done.extend(circle.iter().copied());
        if circle.len() > 1 {
            circles.push(circle.into_iter().map(str::to_owned).collect());
        }
    }
    circles
}

/// What can be reached from `start` in one step or more.
fn reachable<'a>(edges: &BTreeMap<&'a str, BTreeSet<&'a str>>, start: &str) -> BTreeSet<&'a str> {
    let mut reached = BTreeSet::new();
    let mut open = vec![start];
    while let Some(node) = open.pop() {
        for next in edges.get(node).into_iter().flatten() {
            if reached.insert(*next) {
                open.push(next);
            }
        }
    }
    reached
}
