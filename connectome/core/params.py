"""Everything a run can be told: published presets, the run's request, each stage's parameters.

Lengths are in nanometres (nm², nm³); a stage turns them into pixels once, from the voxel size.
Nothing heavy is imported here, so that ``--help`` answers at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field

DEFAULT_DATASET = "bossdb://mulcahy2022/1h_L1/em"
DEFAULT_CUTOUT = (256, 256, 64)  # X Y Z, as published
DEFAULT_SEED = 7
DEFAULT_SIGMA_PX = 1.0
PUBLIC_BOSS_HOST = "https://api.bossdb.io"
PUBLIC_BOSS_TOKEN = "public"

# X Y Z, as published; "none" leaves the size to --cutout.
PRESETS: dict[str, tuple[int, int, int] | None] = {
    "none": None,
    "safe8gb": (192, 192, 48),
    "medium": (256, 256, 48),
}


@dataclass(frozen=True)
class Source:
    """Which voxels to take from where.

    Parameters
    ----------
    uri : str
        ``bossdb://collection/experiment/channel[/mip]``, ``phantom://neuropil[?seed=N]``, or a
        local path (``.npy``, ``.npz``, TIFF, a folder of sections, ``file.h5:/dataset``).
    cutout_xyz : tuple of int, optional
        Size in voxels, in the flag's (X, Y, Z) order. None takes a local file whole and any other
        source at the published 256 × 256 × 64.
    origin_xyz : tuple of int, optional
        Exact corner in (X, Y, Z) order; None takes the seeded, jittered centre.
    resolution : int, optional
        BossDB mip level; None takes the one nearest 8 nm in plane.
    voxel_size : tuple of float, optional
        (z, y, x) in nm, for files that carry none; overrides what a file says.
    seed : int
        Seeds the jitter of the corner, and the phantom.
    boss_host, boss_token : str
        BossDB API, with or without a scheme, and its token.
    cache_dir : str, optional
        Where finished downloads are kept; None takes the user's cache folder.
    """

    uri: str = DEFAULT_DATASET
    cutout_xyz: tuple[int, int, int] | None = None
    origin_xyz: tuple[int, int, int] | None = None
    resolution: int | None = None
    voxel_size: tuple[float, float, float] | None = None
    seed: int = DEFAULT_SEED
    boss_host: str = PUBLIC_BOSS_HOST
    boss_token: str = PUBLIC_BOSS_TOKEN
    cache_dir: str | None = None


@dataclass(frozen=True)
class PreprocessParams:
    """Denoising and contrast, per section.

    Parameters
    ----------
    gaussian_sigma_nm : float
        Width of the smoothing.
    clahe_tile_nm : float
        Width of the neighbourhood whose histogram is equalised.
    clahe_clip : float
        Share of a neighbourhood one of 256 grey values may make up before it is clipped. Just
        above 1/256, where nothing is equalised at all: stronger equalisation makes membranes as
        dark as synaptic densities (at 0.008 hardly a synapse of the phantom was found).
    """

    gaussian_sigma_nm: float = 6.0
    clahe_tile_nm: float = 1000.0
    clahe_clip: float = 0.0042


@dataclass(frozen=True)
class AlignParams:
    """How each section is brought onto its neighbours.

    Parameters
    ----------
    smoothing_nm : float
        Width of the Gaussian that keeps noise from being registered with noise.
    model : {"translation", "rigid", "affine", "auto"}
        What a section may be taken through; the last decides from the stack (see
        `align.estimate_alignment`).
    straighten : bool
        Take the slow trend out, too: for stacks whose tissue is known not to lean.
    """

    smoothing_nm: float = 10.0
    model: str = "translation"
    straighten: bool = False


@dataclass(frozen=True)
class SegmentParams:
    """Pieces of neurites.

    Parameters
    ----------
    fine_nm, coarse_nm : float
        Widths of the Gaussians that smooth the probability: one keeps borders where they are,
        the other makes one hill of one profile.
    least_prominence : float
        How far the top of a piece must stand out, in probability, from the pass to the next.
    """

    fine_nm: float = 5.0
    coarse_nm: float = 20.0
    least_prominence: float = 0.05


@dataclass(frozen=True)
class StitchParams:
    """Which pieces are one neurite.

    Parameters
    ----------
    least_probability : tuple of float
        Mean neurite probability in a contact from which it pulls pieces together: where sections
        are divided one by one, and where in 3D.
    ease : float
        What is taken off that where a person has told some neurites apart: what is known of these
        keeps false joins from spreading.
    least_width : float
        Width of a boundary, in widths of the smaller piece, below which it is a narrow window.
    window_penalty : float
        What is taken off the probability of the narrowest window.
    least_share : float
        Mean share of two pieces of neighbouring sections that their overlap must reach to pull
        them together.
    overlap_weight : float
        Weight of that share against the probability in the overlap.
    free_difference, difference_weight : float
        How far two pieces may differ in brightness, from 0 for membranes to 1 for cytoplasm, and
        the probability that is taken off for each unit beyond that.
    most_dark, least_dark_nm : float
        Brightness up to which, and width in nm from which, a piece is a mitochondrion.
    least_host : float
        Share of all that speaks for any neighbour of a mitochondrion that must speak for one
        neurite for it to lie in that.
    least_enclosure : tuple of float
        Share of its surface that a neurite shares with a larger one, plus half the probability
        there, from which it is a part of that: if it reaches an end of the stack, and if it
        reaches none.
    """

    least_probability: tuple[float, float] = (0.35, 0.3)
    ease: float = 0.07
    least_width: float = 0.3
    window_penalty: float = 0.15
    least_share: float = 0.3
    overlap_weight: float = 1.5
    free_difference: float = 0.3
    difference_weight: float = 0.2
    most_dark: float = 0.3
    least_dark_nm: float = 100.0
    least_host: float = 0.3
    least_enclosure: tuple[float, float] = (0.7, 0.6)


@dataclass(frozen=True)
class WatershedParams:
    """The published baseline: its constants, taken at pixels of 8 nm.

    Parameters
    ----------
    foreground_quantile : float
        Share of the tissue that is too dark to be the inside of a neurite.
    opening_nm : float
        Radius of the disk that must fit into a profile (1 px as published).
    least_area_nm2 : float
        Least area of an object (128 px as published).
    seed_distance_nm : float
        Least distance between the seeds of two profiles (8 px as published).
    least_overlap_nm2 : float
        Least overlap that joins two profiles of adjacent sections (200 px as published).
    """

    foreground_quantile: float = 0.55
    opening_nm: float = 8.0
    least_area_nm2: float = 128 * 8.0**2
    seed_distance_nm: float = 64.0
    least_overlap_nm2: float = 200 * 8.0**2


@dataclass(frozen=True)
class SynapseParams:
    """Dark densities on boundaries between neurites.

    Parameters
    ----------
    depth_nm : float
        Gaussian width across sections that darkness is averaged over.
    max_boundary_nm : float
        Largest distance of a density from a boundary.
    separation_nm : float
        Least distance between two peaks of darkness along each axis.
    least_darkness : float
        Least darkness of a peak; 1 is that of a membrane looked at closely.
    core_share : float
        Share of its peak's darkness that all of a density has.
    largest_nm : float
        Largest extent of one density.
    partner_nm : float
        How far from the density partners are sought.
    rim_nm : float
        Half the width of a membrane: the rim of a density that is not counted as its inside.
    least_presence : float
        Least share a neurite has of the surroundings to count as a neighbour.
    least_contact : float
        Least share a partner has of the contact with all partners.
    most_partners : int
        Most postsynaptic partners of one synapse.
    usual_per_um3 : float
        Synapses in a µm³ of neuropil: how many lie within 1 µm of one, the median in four worms
        (2.9 to 3.8; tables of Witvliet et al. 2021). Where candidates promise more, all of them
        are less likely.
    least_score : float
        Least probability of being a synapse that makes a candidate: half of the F1 to be had is
        where it is highest (Lipton et al. 2014).
    """

    depth_nm: float = 15.0
    max_boundary_nm: float = 50.0
    separation_nm: float = 120.0
    least_darkness: float = 1.15
    core_share: float = 0.75
    largest_nm: float = 450.0
    partner_nm: float = 60.0
    rim_nm: float = 12.0
    least_presence: float = 0.05
    least_contact: float = 0.1
    most_partners: int = 3
    usual_per_um3: float = 3.5
    least_score: float = 0.4


@dataclass(frozen=True)
class GraphParams:
    """Which candidates become connections.

    Parameters
    ----------
    min_score : float
        Least score that counts. Every candidate does by default: `SynapseParams.least_score`
        has chosen among densities already.
    max_gap_nm : float
        Widest membrane across which neurites touch, where labels leave membranes out.
    directed : bool
        Whether connections run from the presynaptic to the postsynaptic neurite: False for those
        who want no heuristic direction. Then they are summed over both.
    """

    min_score: float = 0.0
    max_gap_nm: float = 50.0
    directed: bool = True


@dataclass(frozen=True)
class RunConfig:
    """One run of the main job: its request and every stage's parameters.

    Parameters
    ----------
    source : Source
        What to take from where.
    outdir : str
        Output folder.
    fall_back : bool
        Run on the phantom when the source cannot be reached: only when nobody chose the source.
    simulate_sigma_px : float
        Standard deviation of the misalignment to add to each section, in pixels; 0 adds none.
    align : bool
        False for stacks that are aligned already.
    segmentation : {"agglomerate", "watershed"}
        Which road leads from the aligned stack to neurites; the second is the published baseline.
    ground_truth : str, optional
        Labels of the source cutout, to score against.
    save_minimal : bool
        Leave out the raw and the preprocessed stack.
    aligned_dtype : {"float16", "float32"}
        Type of the saved aligned stack.
    threads : int
        Sections processed at a time.
    """

    source: Source = field(default_factory=Source)
    outdir: str = "outputs"
    fall_back: bool = False
    simulate_sigma_px: float = 0.0
    align: bool = True
    segmentation: str = "agglomerate"
    ground_truth: str | None = None
    save_minimal: bool = False
    aligned_dtype: str = "float32"
    threads: int = 1
    preprocess_params: PreprocessParams = field(default_factory=PreprocessParams)
    align_params: AlignParams = field(default_factory=AlignParams)
    segment_params: SegmentParams = field(default_factory=SegmentParams)
    stitch_params: StitchParams = field(default_factory=StitchParams)
    watershed_params: WatershedParams = field(default_factory=WatershedParams)
    synapse_params: SynapseParams = field(default_factory=SynapseParams)
    graph_params: GraphParams = field(default_factory=GraphParams)
