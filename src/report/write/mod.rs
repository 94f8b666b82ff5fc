//! Reports as files. Every form shows the same rounded figures.

pub mod html;
pub mod manifest;
pub mod rounding;
pub mod xlsx;
#[cfg(test)]
mod tests;

/// The name of a column or table as people read it: `cost_center` is `Cost center`, and
/// `actual_cost_usd` is `Actual cost`.
fn heading(name: &str) -> String {
    let name = name.strip_suffix("_usd").unwrap_or(name);
    let mut text = name.replace(['_', '-'], " ");
    if let Some(first) = text.get_mut(..1) {
        first.make_ascii_uppercase();
    }
    text
}
