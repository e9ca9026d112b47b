//! From the light of HDR and of wide colours to the numbers that SDR has for it, which is what models know.
//!
//! A channel's number becomes light by a table (ITU-R BT.2100: PQ, HLG on a display of 1,000 cd/m²), BT.2020's red, green and blue
//! become BT.709's by a 3×3 matrix, and light becomes an SDR number by another table: what is as bright as the reference white of
//! HDR (ITU-R BT.2408: 203 cd/m²) is about as bright as SDR's white, and what is brighter is compressed above it. This is done to crops
//! and to the detector's pictures, never to a frame.

use std::sync::LazyLock;

use super::frame::{Primaries, Transfer};
use super::resampler::FINE;

/// Light of SDR's white, in cd/m².
const REFERENCE_WHITE: f32 = 203.0;
/// Of HLG's display, in cd/m², …
const HLG_PEAK: f32 = 1000.0;
/// … and its system gamma.
const HLG_GAMMA: f32 = 1.2;
/// Of the display that SDR is made for (ITU-R BT.1886).
const SDR_GAMMA: f32 = 2.4;
/// From this share of SDR's white on, light is compressed.
const KNEE: f32 = 0.8;
/// More light than this, in whites, is white in any case.
const MAX_LIGHT: f32 = 16.0;

/// Steps of a number that becomes light.
const CODES: usize = 4096;
/// Steps of light, even in its square root, where the eye sees them about even.
const LIGHTS: usize = 4096;

/// BT.2020's primaries in BT.709's (ITU-R BT.2087).
const TO_BT709: [[f32; 3]; 3] =
    [[1.660_5, -0.587_6, -0.072_8], [-0.124_6, 1.132_9, -0.008_3], [-0.018_2, -0.100_6, 1.118_7]];
/// Luminance of BT.2020's primaries.
const LUMINANCE: [f32; 3] = [0.262_7, 0.678_0, 0.059_3];

struct Tables {
    /// Light of a number, in whites; for HLG the scene's light, 0..1.
    light: Vec<f32>,
    /// For HLG: what its display makes of the scene's luminance, in whites for each unit of light.
    boost: Option<Vec<f32>>,
    /// The number of a light's square root.
    number: Vec<u8>,
}

impl Tables {
    fn new(transfer: Transfer) -> Self {
        let share = |index: usize, count: usize| index as f32 / (count - 1) as f32;
        let light = |number: f32| match transfer {
            Transfer::Sdr => number.powf(SDR_GAMMA),
            Transfer::Pq => pq(number) / REFERENCE_WHITE,
            Transfer::Hlg => hlg(number),
        };
        let number = |light: f32| {
            let shown = if transfer == Transfer::Sdr { light.min(1.0) } else { compressed(light) };
            (shown.powf(1.0 / SDR_GAMMA) * 255.0).round() as u8
        };
        let boost = |luminance: f32| HLG_PEAK / REFERENCE_WHITE * luminance.powf(HLG_GAMMA - 1.0);
        Self {
            light: (0..CODES).map(|index| light(share(index, CODES))).collect(),
            boost: (transfer == Transfer::Hlg)
                .then(|| (0..LIGHTS).map(|index| boost(share(index, LIGHTS).powi(2))).collect()),
            number: (0..LIGHTS).map(|index| number(share(index, LIGHTS).powi(2) * MAX_LIGHT)).collect(),
        }
    }

    fn of(transfer: Transfer) -> &'static Self {
        static SDR: LazyLock<Tables> = LazyLock::new(|| Tables::new(Transfer::Sdr));
        static PQ: LazyLock<Tables> = LazyLock::new(|| Tables::new(Transfer::Pq));
        static HLG: LazyLock<Tables> = LazyLock::new(|| Tables::new(Transfer::Hlg));
        match transfer {
            Transfer::Sdr => &SDR,
            Transfer::Pq => &PQ,
            Transfer::Hlg => &HLG,
        }
    }
}

/// Light of a PQ number, 0..1, in cd/m² (BT.2100, table 4).
fn pq(number: f32) -> f32 {
    const M1: f64 = 2610.0 / 16384.0;
    const M2: f64 = 2523.0 / 4096.0 * 128.0;
    const C1: f64 = 3424.0 / 4096.0;
    const C2: f64 = 2413.0 / 4096.0 * 32.0;
    const C3: f64 = 2392.0 / 4096.0 * 32.0;
    let root = f64::from(number).powf(1.0 / M2);
    (10_000.0 * ((root - C1).max(0.0) / (C2 - C3 * root)).powf(1.0 / M1)) as f32
}

/// The scene's light, 0..1, of an HLG number (BT.2100, table 5).
fn hlg(number: f32) -> f32 {
    const A: f32 = 0.178_832_77;
    const B: f32 = 0.284_668_92;
    const C: f32 = 0.559_910_7;
    if number <= 0.5 { number * number / 3.0 } else { (((number - C) / A).exp() + B) / 12.0 }
}

/// Light of SDR, 0..1, in whites: as it is up to the knee, and ever less of it above.
fn compressed(light: f32) -> f32 {
    let above = (light - KNEE) / (1.0 - KNEE);
    if above <= 0.0 { light } else { KNEE + (1.0 - KNEE) * (1.0 - (-above).exp()) }
}

/// Whether numbers of this light have to be mapped at all.
pub fn is_sdr(transfer: Transfer, primaries: Primaries) -> bool {
    (transfer, primaries) == (Transfer::Sdr, Primaries::Bt709)
}

/// Maps pixels of three levels, [`FINE`] to each of 0..255, red first unless `bgr`, to bytes of BT.709.
pub fn to_sdr(levels: &[u16], transfer: Transfer, primaries: Primaries, bgr: bool, bytes: &mut [u8]) {
    let tables = Tables::of(transfer);
    let to_code = (CODES - 1) as f32 / (255.0 * f32::from(FINE));
    let root = |light: f32| (light.max(0.0).sqrt() * (LIGHTS - 1) as f32).round() as usize;
    let (red, blue) = if bgr { (2, 0) } else { (0, 2) };
    for (levels, bytes) in levels.as_chunks::<3>().0.iter().zip(bytes.as_chunks_mut::<3>().0) {
        let light = |level: u16| tables.light[((f32::from(level) * to_code).round() as usize).min(CODES - 1)];
        let mut rgb = [light(levels[red]), light(levels[1]), light(levels[blue])];
        if let Some(boost) = &tables.boost {
            let luminance: f32 = rgb.iter().zip(LUMINANCE).map(|(light, weight)| light * weight).sum();
            let boost = boost[root(luminance).min(LIGHTS - 1)];
            rgb = rgb.map(|light| light * boost);
        }
        if primaries == Primaries::Bt2020 {
            rgb = TO_BT709.map(|row| row.iter().zip(rgb).map(|(weight, light)| weight * light).sum());
        }
        let [r, g, b] = rgb.map(|light| tables.number[root(light / MAX_LIGHT).min(LIGHTS - 1)]);
        (bytes[red], bytes[1], bytes[blue]) = (r, g, b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of this light by PQ's own formula, and by HLG's, on 0..1.
    fn to_pq(cd: f32) -> f32 {
        let y = (f64::from(cd) / 10_000.0).powf(0.159_301_757_812_5);
        ((0.835_937_5 + 18.851_562_5 * y) / (1.0 + 18.687_5 * y)).powf(78.84375) as f32
    }

    fn to_hlg(scene: f32) -> f32 {
        if scene <= 1.0 / 12.0 {
            (3.0 * scene).sqrt()
        } else {
            0.178_832_77 * (12.0 * scene - 0.284_668_92).ln() + 0.559_910_7
        }
    }

    fn mapped(rgb: [f32; 3], transfer: Transfer, primaries: Primaries) -> [u8; 3] {
        let levels = rgb.map(|number| (number * 255.0 * f32::from(FINE)).round() as u16);
        let mut bytes = [0; 3];
        to_sdr(&levels, transfer, primaries, false, &mut bytes);
        let [r, g, b] = levels;
        let mut turned = [0; 3];
        to_sdr(&[b, g, r], transfer, primaries, true, &mut turned);
        assert_eq!([turned[2], turned[1], turned[0]], bytes);
        bytes
    }

    #[test]
    fn the_standards_anchors() {
        // BT.2408, table 1: the reference white is at 58 % PQ and 75 % HLG.
        assert!((pq(0.58) - 203.0).abs() < 3.0 && (pq(1.0) - 10_000.0).abs() < 1.0);
        assert!((HLG_PEAK * hlg(0.75).powf(HLG_GAMMA) - 203.0).abs() < 1.0 && (hlg(1.0) - 1.0).abs() < 1e-4);
    }

    /// An SDR picture that somebody put into an HDR one, as bright as it was, comes back as it was up to the knee.
    #[test]
    fn sdr_in_hdr_comes_back() {
        let inverse = |[r, g, b]: [f32; 3]| {
            // BT.2087's way from BT.709 to BT.2020.
            [
                0.6274 * r + 0.3293 * g + 0.0433 * b,
                0.0691 * r + 0.9195 * g + 0.0114 * b,
                0.0164 * r + 0.0880 * g + 0.8956 * b,
            ]
        };
        for sdr in [[20, 20, 20], [128, 128, 128], [200, 150, 120], [60, 40, 30], [90, 160, 200], [225, 225, 225]] {
            let light = sdr.map(|value: u8| (f32::from(value) / 255.0).powf(SDR_GAMMA));
            let wide = inverse(light);
            let near = |found: [u8; 3], what: &str| {
                let worst = found.iter().zip(sdr).map(|(a, b)| a.abs_diff(b)).max().unwrap();
                assert!(worst <= 2, "{what}: {sdr:?} became {found:?}");
            };
            let in_pq = wide.map(|light| to_pq(light * REFERENCE_WHITE));
            near(mapped(in_pq, Transfer::Pq, Primaries::Bt2020), "PQ");
            // Out of the display's light, back to the scene's.
            let shown = wide.map(|light| light * REFERENCE_WHITE / HLG_PEAK);
            let luminance: f32 = shown.iter().zip(LUMINANCE).map(|(light, weight)| light * weight).sum();
            let scene = shown.map(|light| light / luminance.powf((HLG_GAMMA - 1.0) / HLG_GAMMA));
            near(mapped(scene.map(to_hlg), Transfer::Hlg, Primaries::Bt2020), "HLG");
            near(mapped(wide.map(|light| light.powf(1.0 / SDR_GAMMA)), Transfer::Sdr, Primaries::Bt2020), "BT.2020");
        }
    }

    #[test]
    fn what_is_brighter_than_white_keeps_its_order() {
        let mut last = 0;
        for cd in [100.0, 150.0, 203.0, 300.0, 500.0, 1000.0] {
            let [r, g, b] = mapped([to_pq(cd); 3], Transfer::Pq, Primaries::Bt2020);
            assert!(r.abs_diff(g) <= 1 && g.abs_diff(b) <= 1, "grey stays grey");
            assert!(g >= last, "{cd}");
            last = g;
        }
        assert_eq!(last, 255);
    }
}
