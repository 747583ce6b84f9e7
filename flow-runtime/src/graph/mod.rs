//! A DAG as a graph to look at: its typed [`edges`], where everything lies in a [`layout`](Layout), and the pictures of
//! that: [`svg`], [`mermaid`].

pub mod edges;
mod layout;
pub mod mermaid;
mod svg;

pub use layout::{Frame, Layout, Line, NodeBox, Stroke, layout};
pub use svg::svg;
