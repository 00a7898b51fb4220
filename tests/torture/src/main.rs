//! temporary
fn main() {
    let seed: u64 = std::env::args()
        .nth(1)
        .and_then(|a| a.parse().ok())
        .unwrap_or(1);
    let rounds: u64 = std::env::args()
        .nth(2)
        .and_then(|a| a.parse().ok())
        .unwrap_or(10);
    let mut images = 0;
    let mut rec = 0;
    let t = std::time::Instant::now();
    for seed in seed..seed + rounds {
        match torture::power_loss::round(seed, 100, None) {
            Ok(c) => {
                images += c.images;
                rec += c.recoveries;
            }
            Err(v) => {
                println!("seed {seed}: {v}");
                return;
            }
        }
    }
    println!("{images} images {rec} recoveries {:?}", t.elapsed());
}
