//! Figures from scores and truths. Pure arithmetic: no files, no clock; the only chance is a fixed seed.

use std::collections::BTreeMap;

use serde::Serialize;

/// Draws of the bootstrap.
const DRAWS: usize = 2000;
/// Groups from which on an interval is given.
const MIN_GROUPS: usize = 5;
/// Any number would do; it is fixed so that the same scores give the same interval.
const SEED: u64 = 0x00DE_EBFA_4E00;
/// Bins of the reliability diagram and of the expected calibration error.
pub const BINS: usize = 10;

/// One scored clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scored<'a> {
    /// Calibrated P(fake), 0..1.
    pub score: f64,
    pub fake: bool,
    /// Clips of one group are drawn together.
    pub group: &'a str,
}

/// All figures of a set of clips. What cannot be computed (one class only, nothing called fake) is `None`.
///
/// "Positive" is fake: `tpr` is the share of fakes caught, `fpr` the share of reals called fake.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Metrics {
    /// Clips in the set, and those of them that got no score; all figures below are about the others.
    pub clips: usize,
    pub abstained: usize,
    pub real: usize,
    pub fake: usize,
    pub groups: usize,
    /// Probability that a random fake scores higher than a random real, ties counted half.
    pub auc: Option<f64>,
    /// 95 % interval of `auc`: the 2.5th and 97.5th percentile over draws of whole groups with replacement.
    pub auc_low: Option<f64>,
    pub auc_high: Option<f64>,
    /// At the threshold, as are those that follow.
    pub balanced_accuracy: Option<f64>,
    pub accuracy: Option<f64>,
    pub precision: Option<f64>,
    pub recall: Option<f64>,
    pub f1: Option<f64>,
    pub fpr: Option<f64>,
    pub tpr: Option<f64>,
    /// Where misses and false alarms are equally frequent, between two measured points on a straight line.
    pub eer: Option<f64>,
    /// The largest share of fakes caught by any threshold that calls at most 1 % (5 %) of the reals fake.
    pub tpr_at_fpr_1: Option<f64>,
    pub tpr_at_fpr_5: Option<f64>,
    /// Expected calibration error over ten equally wide bins of the score, where real and fake clips together weigh the same: a score
    /// says what a clip is where either is as likely, whatever the mixture of the clips measured on.
    pub ece: Option<f64>,
    /// Mean squared distance between score and truth.
    pub brier: Option<f64>,
    /// Score from which a clip is called fake.
    pub threshold: f64,
}

impl Metrics {
    /// The figures of `scored`, beside which `abstained` clips got no score.
    pub fn new(scored: &[Scored], abstained: usize, threshold: f64) -> Self {
        let fake = scored.iter().filter(|clip| clip.fake).count();
        let real = scored.len() - fake;
        let caught = scored.iter().filter(|clip| clip.fake && clip.score >= threshold).count();
        let alarms = scored.iter().filter(|clip| !clip.fake && clip.score >= threshold).count();
        let roc = Roc::new(scored);
        let interval = auc_interval(scored);
        let (tpr, fpr) = (ratio(caught, fake), ratio(alarms, real));
        Self {
            clips: scored.len() + abstained,
            abstained,
            real,
            fake,
            groups: by_group(scored).len(),
            auc: roc.as_ref().map(Roc::auc),
            auc_low: interval.map(|(low, _)| low),
            auc_high: interval.map(|(_, high)| high),
            balanced_accuracy: tpr.zip(fpr).map(|(tpr, fpr)| (tpr + 1.0 - fpr) / 2.0),
            accuracy: ratio(caught + real - alarms, scored.len()),
            precision: ratio(caught, caught + alarms),
            recall: tpr,
            f1: ratio(2 * caught, 2 * caught + alarms + (fake - caught)),
            fpr,
            tpr,
            eer: roc.as_ref().map(Roc::eer),
            tpr_at_fpr_1: roc.as_ref().map(|roc| roc.tpr_at(0.01)),
            tpr_at_fpr_5: roc.as_ref().map(|roc| roc.tpr_at(0.05)),
            ece: ece(&reliability(scored)),
            brier: mean(scored.iter().map(|clip| (clip.score - f64::from(u8::from(clip.fake))).powi(2))),
            threshold,
        }
    }
}

fn ratio(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

fn mean(values: impl ExactSizeIterator<Item = f64>) -> Option<f64> {
    let count = values.len();
    (count > 0).then(|| values.sum::<f64>() / count as f64)
}

/// One corner of a ROC curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Corner {
    pub fpr: f64,
    pub tpr: f64,
    /// Scores from here on are called fake; infinite at the first corner.
    pub threshold: f64,
}

/// The ROC curve: corners from (0, 0) to (1, 1), one per distinct score, so that ties become slopes.
#[derive(Clone, Debug, PartialEq)]
pub struct Roc {
    pub corners: Vec<Corner>,
}

impl Roc {
    /// `None` unless both classes are there.
    pub fn new(scored: &[Scored]) -> Option<Self> {
        let mut sorted: Vec<_> = scored.iter().map(|clip| (clip.score, clip.fake, 1.0)).collect();
        sorted.sort_by(|a, b| b.0.total_cmp(&a.0));
        Self::weighted(&sorted)
    }

    /// From (score, fake, weight), highest score first.
    fn weighted(sorted: &[(f64, bool, f64)]) -> Option<Self> {
        let weight_of = |fake| sorted.iter().filter(|clip| clip.1 == fake).map(|clip| clip.2).sum::<f64>();
        let (fakes, reals) = (weight_of(true), weight_of(false));
        if fakes <= 0.0 || reals <= 0.0 {
            return None;
        }
        let mut corners = vec![Corner { fpr: 0.0, tpr: 0.0, threshold: f64::INFINITY }];
        let (mut caught, mut alarms) = (0.0, 0.0);
        for (index, &(score, fake, weight)) in sorted.iter().enumerate() {
            *if fake { &mut caught } else { &mut alarms } += weight;
            if sorted.get(index + 1).is_none_or(|next| next.0 != score) {
                corners.push(Corner { fpr: alarms / reals, tpr: caught / fakes, threshold: score });
            }
        }
        Some(Self { corners })
    }

    /// Area under the curve.
    pub fn auc(&self) -> f64 {
        self.corners.windows(2).map(|pair| (pair[1].fpr - pair[0].fpr) * (pair[0].tpr + pair[1].tpr) / 2.0).sum()
    }

    /// Where the curve crosses `fpr = 1 − tpr`.
    pub fn eer(&self) -> f64 {
        for pair in self.corners.windows(2) {
            // Negative before the crossing.
            let [before, after] = [pair[0], pair[1]].map(|corner| corner.fpr + corner.tpr - 1.0);
            if after >= 0.0 {
                return pair[0].fpr + (pair[1].fpr - pair[0].fpr) * before / (before - after);
            }
        }
        unreachable!("the last corner is (1, 1)")
    }

    /// The highest measured `tpr` whose `fpr` is at most `limit`.
    pub fn tpr_at(&self, limit: f64) -> f64 {
        self.corners.iter().filter(|corner| corner.fpr <= limit).map(|corner| corner.tpr).fold(0.0, f64::max)
    }
}

/// Indices of the clips of each group.
fn by_group(scored: &[Scored]) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (index, clip) in scored.iter().enumerate() {
        groups.entry(clip.group).or_default().push(index);
    }
    groups.into_values().collect()
}

/// 95 % interval of the AUC by bootstrap over groups: 2000 times, as many groups as there are are drawn with
/// replacement, all clips of a drawn group come along, and the AUC is taken; draws that hold one class only say
/// nothing and are left out. `None` with fewer than five groups, whose interval would promise more than it knows, or if
/// fewer than half of the draws say something.
pub fn auc_interval(scored: &[Scored]) -> Option<(f64, f64)> {
    let order = falling(scored);
    interval(scored, |weights| weighted_auc(scored, &order, weights))
}

/// How much higher the AUC of one score is than that of another, on the same clips.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    pub auc_difference: f64,
    /// 95 % interval by the same bootstrap as that of an AUC: both scores are taken on each draw.
    pub low: Option<f64>,
    pub high: Option<f64>,
    /// Clips that both scored.
    pub clips: usize,
}

/// `None` unless both classes are there.
///
/// # Panics
/// If the two are not about the same clips in the same order.
pub fn auc_difference(one: &[Scored], other: &[Scored]) -> Option<Difference> {
    assert_eq!(one.len(), other.len(), "two scores of the same clips");
    assert!(one.iter().zip(other).all(|(a, b)| (a.fake, a.group) == (b.fake, b.group)), "two scores of the same clips");
    let (order, other_order) = (falling(one), falling(other));
    let difference =
        |weights: &[f64]| Some(weighted_auc(one, &order, weights)? - weighted_auc(other, &other_order, weights)?);
    let interval = interval(one, difference);
    Some(Difference {
        auc_difference: Roc::new(one)?.auc() - Roc::new(other)?.auc(),
        low: interval.map(|(low, _)| low),
        high: interval.map(|(_, high)| high),
        clips: one.len(),
    })
}

/// Indices of the clips, the highest score first.
fn falling(scored: &[Scored]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..scored.len()).collect();
    order.sort_by(|a, b| scored[*b].score.total_cmp(&scored[*a].score));
    order
}

fn weighted_auc(scored: &[Scored], order: &[usize], weights: &[f64]) -> Option<f64> {
    let drawn: Vec<_> = order
        .iter()
        .filter(|&&index| weights[index] > 0.0)
        .map(|&index| (scored[index].score, scored[index].fake, weights[index]))
        .collect();
    Roc::weighted(&drawn).map(|roc| roc.auc())
}

/// 95 % interval of what `figure` makes of the clips' weights (how often each was drawn), as [`auc_interval`] tells.
fn interval(scored: &[Scored], figure: impl Fn(&[f64]) -> Option<f64>) -> Option<(f64, f64)> {
    let groups = by_group(scored);
    if groups.len() < MIN_GROUPS {
        return None;
    }
    let mut random = SplitMix(SEED);
    let mut figures = Vec::with_capacity(DRAWS);
    for _ in 0..DRAWS {
        let mut weights = vec![0.0; scored.len()];
        for _ in 0..groups.len() {
            for &index in &groups[random.below(groups.len())] {
                weights[index] += 1.0;
            }
        }
        figures.extend(figure(&weights));
    }
    if figures.len() < DRAWS / 2 {
        return None;
    }
    figures.sort_by(f64::total_cmp);
    Some((percentile(&figures, 0.025), percentile(&figures, 0.975)))
}

/// The AUC against labels that were dealt out anew among the clips, on average over many deals: one half, unless the arithmetic
/// is wrong.
pub fn auc_of_shuffled_labels(scored: &[Scored]) -> Option<f64> {
    const DEALS: usize = 200;
    let mut random = SplitMix(SEED);
    let mut clips = scored.to_vec();
    let mut sum = 0.0;
    for _ in 0..DEALS {
        // Fisher and Yates.
        for last in (1..clips.len()).rev() {
            let other = random.below(last + 1);
            let fake = clips[last].fake;
            clips[last].fake = std::mem::replace(&mut clips[other].fake, fake);
        }
        sum += Roc::new(&clips)?.auc();
    }
    Some(sum / DEALS as f64)
}

/// Of ascending values, between two of them on a straight line.
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let place = share * (sorted.len() - 1) as f64;
    let (below, above) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    below + (above - below) * place.fract()
}

/// SplitMix64. Written out, because its stream must stay the same when libraries are updated: intervals are compared
/// between releases.
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// 0..limit; the bias of the multiplication is below 2⁻⁵⁰ for any number of groups met here.
    fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

/// One bin of the reliability diagram.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Bin {
    pub real: usize,
    pub fake: usize,
    /// What its clips weigh, of 1 for all: the real ones together one half, and so the fake ones.
    pub weight: f64,
    /// Weighted mean score of the clips in it.
    pub score: f64,
    /// Weighted share of them that is fake.
    pub fake_share: f64,
}

/// Clips by score, in [`BINS`] equally wide bins over 0..1.
pub fn reliability(scored: &[Scored]) -> [Bin; BINS] {
    let fakes = scored.iter().filter(|clip| clip.fake).count();
    let mut bins = [Bin::default(); BINS];
    for clip in scored {
        let bin = &mut bins[((clip.score * BINS as f64) as usize).min(BINS - 1)];
        let alike = if clip.fake { fakes } else { scored.len() - fakes };
        let weight = 0.5 / alike as f64;
        *(if clip.fake { &mut bin.fake } else { &mut bin.real }) += 1;
        bin.weight += weight;
        bin.score += weight * clip.score;
        bin.fake_share += weight * f64::from(u8::from(clip.fake));
    }
    for bin in bins.iter_mut().filter(|bin| bin.weight > 0.0) {
        bin.score /= bin.weight;
        bin.fake_share /= bin.weight;
    }
    bins
}

/// Mean distance between what was said and what was so; unknown with one class.
fn ece(bins: &[Bin]) -> Option<f64> {
    let both = bins.iter().any(|bin| bin.real > 0) && bins.iter().any(|bin| bin.fake > 0);
    both.then(|| bins.iter().map(|bin| bin.weight * (bin.score - bin.fake_share).abs()).sum())
}

/// Log odds of a probability. Scores are kept off 0 and 1 by 10⁻⁷, which is as near as single precision, in which models
/// compute them, comes to 1.
pub fn logit(p: f64) -> f64 {
    let p = p.clamp(1e-7, 1.0 - 1e-7);
    (p / (1.0 - p)).ln()
}

/// The inverse of [`logit`].
pub fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// The normal deviate of a probability, 0 < p < 1: what a DET plot's axes are drawn in.
///
/// Acklam's rational approximation, off by less than 1.2·10⁻⁹ of the value.
pub fn probit(p: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 6] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
        1.0,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 5] =
        [7.784_695_709_041_462e-3, 3.224_671_290_700_398e-1, 2.445_134_137_142_996, 3.754_408_661_907_416, 1.0];
    let polynomial = |coefficients: &[f64], x: f64| coefficients.iter().fold(0.0, |sum, c| sum * x + c);
    if p > 0.5 {
        return -probit(1.0 - p);
    }
    if p < 0.02425 {
        let q = (-2.0 * p.ln()).sqrt();
        return polynomial(&C, q) / polynomial(&D, q);
    }
    let q = p - 0.5;
    polynomial(&A, q * q) * q / polynomial(&B, q * q)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const GROUPS: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];

    /// Reals and fakes of the given scores, each its own group as far as names reach.
    fn clips(reals: &[f64], fakes: &[f64]) -> Vec<Scored<'static>> {
        let all = reals.iter().map(|s| (*s, false)).chain(fakes.iter().map(|s| (*s, true)));
        all.enumerate().map(|(i, (score, fake))| Scored { score, fake, group: GROUPS[i % 8] }).collect()
    }

    fn auc(scored: &[Scored]) -> f64 {
        Roc::new(scored).unwrap().auc()
    }

    #[track_caller]
    fn close(a: impl Into<Option<f64>>, b: f64) {
        let a = a.into().expect("a figure");
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn a_worked_example_gives_its_known_figures() {
        // As in scikit-learn's documentation: roc_auc_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) = 0.75.
        let metrics = Metrics::new(&clips(&[0.1, 0.4], &[0.35, 0.8]), 3, 0.375);
        close(metrics.auc, 0.75);
        close(metrics.tpr, 0.5);
        close(metrics.fpr, 0.5);
        close(metrics.balanced_accuracy, 0.5);
        close(metrics.precision, 0.5);
        close(metrics.accuracy, 0.5);
        close(metrics.f1, 0.5);
        close(metrics.eer, 0.5);
        close(metrics.tpr_at_fpr_1, 0.5);
        close(metrics.brier, (0.01 + 0.16 + 0.4225 + 0.04) / 4.0);
        assert_eq!((metrics.clips, metrics.abstained, metrics.real, metrics.fake, metrics.groups), (7, 3, 2, 2, 4));
    }

    #[test]
    fn ties_count_half() {
        close(auc(&clips(&[0.5, 0.5], &[0.5, 0.5, 0.5])), 0.5);
        // Pairs: 0.5>0.2 won, 0.5=0.5 half, 0.9>both won: 3.5 of 4.
        close(auc(&clips(&[0.2, 0.5], &[0.5, 0.9])), 3.5 / 4.0);
    }

    #[test]
    fn perfect_and_reversed_scores_are_the_ends_of_the_scale() {
        let perfect = Metrics::new(&clips(&[0.1, 0.2, 0.3], &[0.7, 0.8, 0.9]), 0, 0.5);
        close(perfect.auc, 1.0);
        close(perfect.eer, 0.0);
        close(perfect.tpr_at_fpr_1, 1.0);
        close(perfect.balanced_accuracy, 1.0);
        assert_eq!((perfect.auc_low, perfect.auc_high), (Some(1.0), Some(1.0)));
        let reversed = Metrics::new(&clips(&[0.8, 0.9], &[0.1, 0.2]), 0, 0.5);
        close(reversed.auc, 0.0);
        close(reversed.eer, 1.0);
        close(reversed.tpr_at_fpr_1, 0.0);
    }

    #[test]
    fn the_equal_error_rate_lies_between_measured_points() {
        // Corners: (0,0) (0,1/3) (1/2,1/3) (1/2,1) (1,1): the crossing is on the upright at fpr 1/2.
        close(Roc::new(&clips(&[0.2, 0.6], &[0.5, 0.4, 0.8])).unwrap().eer(), 0.5);
        // One tie of all: the diagonal, crossed at one half.
        close(Roc::new(&clips(&[0.5], &[0.5])).unwrap().eer(), 0.5);
        // Corners (0,0) (0,.5) (.5,1) (1,1): on the slope, fpr + tpr = 1 at fpr 1/4.
        close(Roc::new(&clips(&[0.1, 0.5], &[0.5, 0.9])).unwrap().eer(), 0.25);
    }

    #[test]
    fn tpr_at_a_false_alarm_rate_keeps_below_it() {
        let reals: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
        let roc = Roc::new(&clips(&reals, &[0.985, 0.995, 0.955, 0.1])).unwrap();
        close(roc.tpr_at(0.0), 0.25);
        close(roc.tpr_at(0.01), 0.5);
        close(roc.tpr_at(0.05), 0.75);
    }

    #[test]
    fn one_class_or_none_gives_no_figure_that_needs_two() {
        let real = Metrics::new(&clips(&[0.1, 0.7], &[]), 0, 0.5);
        assert_eq!(
            (real.auc, real.auc_low, real.eer, real.tpr, real.balanced_accuracy),
            (None, None, None, None, None)
        );
        close(real.fpr, 0.5);
        let none = Metrics::new(&[], 4, 0.5);
        assert_eq!((none.auc, none.accuracy, none.precision, none.ece, none.brier), (None, None, None, None, None));
        assert_eq!((none.clips, none.abstained), (4, 4));
    }

    #[test]
    fn precision_is_unknown_when_nothing_is_called_fake() {
        let metrics = Metrics::new(&clips(&[0.1], &[0.2]), 0, 0.5);
        assert_eq!(metrics.precision, None);
        close(metrics.recall, 0.0);
    }

    #[test]
    fn calibration_error_is_the_mean_gap() {
        // Bin 0.2..0.3: said 0.25, so 0.5. Bin 0.9..1: said 1, so 1.
        let scored = clips(&[0.25, 0.05], &[0.25, 1.0]);
        close(ece(&reliability(&scored)), (2.0 * 0.25 + 0.05) / 4.0);
    }

    #[test]
    fn calibration_error_hangs_on_no_mixture_of_classes() {
        let few = clips(&[0.25, 0.45], &[0.45, 0.95]);
        let many = clips(&[0.25, 0.45], &[0.45, 0.95, 0.45, 0.95, 0.45, 0.95]);
        close(ece(&reliability(&many)), ece(&reliability(&few)).unwrap());
        assert_eq!(ece(&reliability(&clips(&[], &[0.9, 0.8]))), None);
    }

    #[test]
    fn the_interval_holds_the_area_and_narrows_with_more_groups() {
        let width = |copies: usize| {
            let names: Vec<String> = (0..copies * 4).map(|i| format!("g{i}")).collect();
            let pattern = [(0.2, false), (0.6, false), (0.4, true), (0.8, true)];
            let scored: Vec<_> = names
                .iter()
                .enumerate()
                .map(|(i, group)| Scored { score: pattern[i % 4].0, fake: pattern[i % 4].1, group })
                .collect();
            let (low, high) = auc_interval(&scored).unwrap();
            assert!(low <= 0.75 && 0.75 <= high && low >= 0.0 && high <= 1.0);
            high - low
        };
        assert!(width(50) < width(5) / 2.0);
    }

    #[test]
    fn clips_of_one_group_are_no_independent_evidence() {
        let narrow: Vec<_> = clips(&[0.2, 0.6, 0.3, 0.5], &[0.4, 0.8, 0.55, 0.7]);
        let mut wide = narrow.clone();
        // The same eight clips in five groups instead of eight.
        for (i, clip) in wide.iter_mut().enumerate() {
            clip.group = GROUPS[i % 5];
        }
        let spread = |scored: &[Scored]| auc_interval(scored).map(|(low, high)| high - low);
        assert!(spread(&wide).is_some() && spread(&narrow) != spread(&wide));
        for clip in &mut wide {
            clip.group = if clip.fake { "one" } else { "two" };
        }
        assert_eq!(auc_interval(&wide), None, "two groups say nothing about a third");
    }

    #[test]
    fn a_difference_is_paired_and_has_no_width_where_two_scores_agree() {
        let one = clips(&[0.1, 0.3, 0.5, 0.2, 0.6], &[0.4, 0.8, 0.7, 0.9, 0.55]);
        let same = auc_difference(&one, &one).unwrap();
        assert_eq!((same.auc_difference, same.low, same.high, same.clips), (0.0, Some(0.0), Some(0.0), 10));
        // The same order of clips at other values is no difference either.
        let bent: Vec<_> = one.iter().map(|clip| Scored { score: clip.score.powi(3), ..*clip }).collect();
        assert_eq!(auc_difference(&one, &bent).unwrap(), same);
        let worse: Vec<_> = one.iter().map(|clip| Scored { score: 1.0 - clip.score, ..*clip }).collect();
        let difference = auc_difference(&one, &worse).unwrap();
        close(difference.auc_difference, auc(&one) - auc(&worse));
        assert!(difference.low.unwrap() < 0.76 && difference.high.unwrap() > 0.76, "{difference:?}");
        let back = auc_difference(&worse, &one).unwrap();
        close(back.auc_difference, -difference.auc_difference);
        close(back.high, -difference.low.unwrap());
        assert_eq!(auc_difference(&clips(&[0.1], &[]), &clips(&[0.2], &[])), None, "one class");
        let few = auc_difference(&clips(&[0.1], &[0.4]), &clips(&[0.2], &[0.1])).unwrap();
        assert_eq!((few.auc_difference, few.low, few.high), (1.0, None, None), "two groups have no interval");
    }

    #[test]
    fn shuffled_labels_are_worth_a_half() {
        let reals: Vec<f64> = (0..40).map(f64::from).collect();
        let fakes: Vec<f64> = (40..80).map(f64::from).collect();
        let all: Vec<f64> = reals.iter().chain(&fakes).map(|score| score / 80.0).collect();
        let scored = clips(&all[..40], &all[40..]);
        close(auc(&scored), 1.0);
        let shuffled = auc_of_shuffled_labels(&scored).unwrap();
        assert!((shuffled - 0.5).abs() < 0.03, "{shuffled}");
        assert_eq!(auc_of_shuffled_labels(&scored[..40]), None);
    }

    #[test]
    fn the_normal_deviate_is_known_at_a_few_points() {
        for (p, z) in [(0.5, 0.0), (0.975, 1.959_963_985), (0.01, -2.326_347_874), (0.001, -3.090_232_306)] {
            assert!((probit(p) - z).abs() < 1e-7, "{p}");
        }
    }

    fn scores() -> impl Strategy<Value = (Vec<f64>, Vec<f64>)> {
        // Hundredths, so that ties happen.
        let score = (0u32..=100).prop_map(|s| f64::from(s) / 100.0);
        (proptest::collection::vec(score.clone(), 1..30), proptest::collection::vec(score, 1..30))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_area_is_the_share_of_pairs_won((reals, fakes) in scores()) {
            let won: f64 = reals.iter().flat_map(|r| fakes.iter().map(move |f| match f.total_cmp(r) {
                std::cmp::Ordering::Greater => 1.0,
                std::cmp::Ordering::Equal => 0.5,
                std::cmp::Ordering::Less => 0.0,
            })).sum();
            let share = won / (reals.len() * fakes.len()) as f64;
            prop_assert!((auc(&clips(&reals, &fakes)) - share).abs() < 1e-9);
        }

        #[test]
        fn flipped_scores_flip_the_area((reals, fakes) in scores()) {
            let flip = |scores: &[f64]| scores.iter().map(|s| 1.0 - s).collect::<Vec<_>>();
            let flipped = auc(&clips(&flip(&reals), &flip(&fakes)));
            prop_assert!((auc(&clips(&reals, &fakes)) - (1.0 - flipped)).abs() < 1e-9);
        }

        #[test]
        fn only_the_order_of_scores_counts_for_curve_figures((reals, fakes) in scores()) {
            let bend = |scores: &[f64]| scores.iter().map(|s| sigmoid(3.0 * s - 1.0)).collect::<Vec<_>>();
            let (a, b) = (clips(&reals, &fakes), clips(&bend(&reals), &bend(&fakes)));
            let (plain, bent) = (Roc::new(&a).unwrap(), Roc::new(&b).unwrap());
            prop_assert_eq!(plain.auc(), bent.auc());
            prop_assert_eq!(plain.eer(), bent.eer());
            prop_assert_eq!(plain.tpr_at(0.05), bent.tpr_at(0.05));
            prop_assert_eq!(auc_interval(&a), auc_interval(&b));
        }

        #[test]
        fn the_order_of_clips_does_not_count((reals, fakes) in scores()) {
            let mut scored = clips(&reals, &fakes);
            let roc = Roc::new(&scored).unwrap();
            scored.reverse();
            prop_assert_eq!(Roc::new(&scored).unwrap(), roc);
        }

        #[test]
        fn the_curve_rises_and_errors_are_shares((reals, fakes) in scores(), threshold in 0.0..1.0f64) {
            let scored = clips(&reals, &fakes);
            let roc = Roc::new(&scored).unwrap();
            prop_assert!(roc.corners.windows(2).all(|p| p[0].fpr <= p[1].fpr && p[0].tpr <= p[1].tpr));
            let metrics = Metrics::new(&scored, 0, threshold);
            for value in [metrics.auc, metrics.eer, metrics.ece, metrics.brier, metrics.accuracy, metrics.balanced_accuracy] {
                prop_assert!((0.0..=1.0).contains(&value.unwrap()));
            }
        }

        #[test]
        fn logit_and_sigmoid_are_inverse(p in 1e-6..0.999_999f64) {
            prop_assert!((sigmoid(logit(p)) - p).abs() < 1e-9);
        }
    }
}
