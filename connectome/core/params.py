"""Parameters of a run: published presets, the requested source and the parameters of each stage.

Lengths are in nanometres; each stage converts them to pixels once, with the voxel size. Only the
standard library is imported here, so that ``--help`` answers at once.
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
    """The source of a run, and the cutout to take from it.

    Parameters
    ----------
    uri : str
        ``bossdb://collection/experiment/channel[/mip]``, ``phantom://neuropil[?seed=N]``, or a
        local path (``.npy``, ``.npz``, TIFF, a folder of sections, ``file.h5:/dataset``).
    cutout_xyz : tuple of int, optional
        Size in voxels, in the (X, Y, Z) order of the flag. None takes a local file whole and any
        other source at the published 256 × 256 × 64.
    origin_xyz : tuple of int, optional
        Corner in voxels, (X, Y, Z). None takes the centre of the source with a jitter that
        ``seed`` determines.
    resolution : int, optional
        BossDB mip level; None takes the one nearest to 8 nm in plane.
    voxel_size : tuple of float, optional
        (z, y, x) in nm. Overrides the voxel size of the file; required where the file has none.
    seed : int
        Seed of the jitter and of the phantom.
    boss_host, boss_token : str
        BossDB API, with or without a scheme, and its token.
    cache_dir : str, optional
        Folder of finished downloads; None takes the user's cache folder.
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
    """Parameters of denoising and contrast equalisation, applied to each section.

    Parameters
    ----------
    gaussian_sigma_nm : float
        Standard deviation of the Gaussian smoothing.
    clahe_tile_nm : float
        Width of the tiles of the contrast-limited adaptive histogram equalisation (CLAHE).
    clahe_clip : float
        Clip limit of CLAHE: the largest fraction of a tile that one of 256 grey values may make up.
        At 1/256 nothing is equalised. The default is just above, because stronger equalisation
        makes membranes as dark as synaptic densities (at 0.008 hardly any synapse of the phantom
        was found).
    """

    gaussian_sigma_nm: float = 6.0
    clahe_tile_nm: float = 1000.0
    clahe_clip: float = 0.0042


@dataclass(frozen=True)
class AlignParams:
    """Parameters of the alignment of sections.

    Parameters
    ----------
    smoothing_nm : float
        Standard deviation of the Gaussian that suppresses noise before registration.
    model : {"translation", "rigid", "affine", "auto"}
        Transformations allowed for a section; ``auto`` chooses from the stack (see
        `align.estimate_alignment`).
    straighten : bool
        Also remove the slow drift along z, for tissue known to run perpendicular to the sections.
    """

    smoothing_nm: float = 10.0
    model: str = "translation"
    straighten: bool = False


@dataclass(frozen=True)
class SegmentParams:
    """Parameters of the segmentation into supervoxels.

    Parameters
    ----------
    fine_nm, coarse_nm : float
        Standard deviations of the two Gaussians that smooth the neurite probability. The fine one
        keeps boundaries in place; the coarse one leaves one maximum in each profile.
    min_prominence : float
        Smallest prominence of a maximum, in probability. A maximum that rises less than this above
        the pass to a higher one is merged with it.
    """

    fine_nm: float = 5.0
    coarse_nm: float = 20.0
    min_prominence: float = 0.05


@dataclass(frozen=True)
class StitchParams:
    """Parameters of the agglomeration of supervoxels into neurites.

    Parameters
    ----------
    min_probability_thick, min_probability_thin : float
        Mean neurite probability at a contact above which its edge is attractive, in stacks of thick
        and of thin sections (see `connectome.core.volume.has_thin_sections`).
    constraint_relaxation : float
        Subtracted from these when there are cannot-link constraints, which keep false
        merges from spreading.
    min_relative_width : float
        Width of a contact, relative to the width of the smaller supervoxel, below which the contact
        counts as narrow.
    narrow_contact_penalty : float
        Subtracted from the probability at the narrowest contacts; less at wider ones.
    min_overlap : float
        Mean overlap fraction of two supervoxels in neighbouring sections above which the overlap is
        attractive.
    overlap_weight : float
        Weight of the overlap fraction relative to the probability in the overlap.
    brightness_tolerance, brightness_weight : float
        Difference in mean brightness between two supervoxels (0 is membrane, 1 is cytoplasm) that
        costs nothing, and the probability subtracted per unit of difference beyond it.
    max_mitochondrion_brightness, min_mitochondrion_nm : float
        A supervoxel at most this bright and at least this wide is treated as a mitochondrion.
    min_host_fraction : float
        Smallest fraction of a mitochondrion's total contact weight that one neurite must have to be
        its host.
    min_enclosure_at_end, min_enclosure_inside : float
        Fraction of its surface that a neurite shares with a larger one, plus half the mean
        probability there, from which it is merged into the larger one: for neurites that reach an
        end of the stack, and for those that reach none.
    """

    min_probability_thick: float = 0.35
    min_probability_thin: float = 0.3
    constraint_relaxation: float = 0.07
    min_relative_width: float = 0.3
    narrow_contact_penalty: float = 0.15
    min_overlap: float = 0.3
    overlap_weight: float = 1.5
    brightness_tolerance: float = 0.3
    brightness_weight: float = 0.2
    max_mitochondrion_brightness: float = 0.3
    min_mitochondrion_nm: float = 100.0
    min_host_fraction: float = 0.3
    min_enclosure_at_end: float = 0.7
    min_enclosure_inside: float = 0.6


@dataclass(frozen=True)
class WatershedParams:
    """Parameters of the published baseline, its constants converted at pixels of 8 nm.

    Parameters
    ----------
    foreground_quantile : float
        Quantile of the grey values of the tissue above which a pixel is inside a neurite.
    opening_radius_nm : float
        Radius of the disk of the morphological opening (1 px as published).
    min_area_nm2 : float
        Smallest area of an object (128 px as published).
    min_seed_distance_nm : float
        Smallest distance between the seeds of two profiles (8 px as published).
    min_overlap_nm2 : float
        Smallest overlap that joins two profiles of adjacent sections (200 px as published).
    """

    foreground_quantile: float = 0.55
    opening_radius_nm: float = 8.0
    min_area_nm2: float = 128 * 8.0**2
    min_seed_distance_nm: float = 64.0
    min_overlap_nm2: float = 200 * 8.0**2


@dataclass(frozen=True)
class SynapseParams:
    """Parameters of the detection of synaptic densities.

    Darkness is measured in units of membrane darkness: 0 is cytoplasm, 1 is membrane.

    Parameters
    ----------
    smoothing_z_nm : float
        Standard deviation of the Gaussian across sections that darkness is smoothed with.
    max_boundary_distance_nm : float
        Largest distance of a density from a boundary between neurites.
    min_separation_nm : float
        Smallest distance between two maxima of darkness along each axis.
    min_darkness : float
        Smallest darkness of a maximum.
    core_fraction : float
        Every voxel of a density has at least this fraction of the darkness of its maximum.
    max_extent_nm : float
        Largest extent of one density along each axis.
    max_partner_distance_nm : float
        Largest distance of a partner from the density.
    rim_nm : float
        Half the width of a membrane: the rim of a density, which does not count as its inside.
    min_neighbour_fraction : float
        Smallest fraction of the surroundings that a neurite must fill to count as a neighbour.
    min_contact_fraction : float
        Smallest fraction of the total contact area that a partner must have.
    max_partners : int
        Largest number of postsynaptic partners of one synapse.
    typical_density_per_um3 : float
        Synapses per µm³ of neuropil: the number within 1 µm of a synapse, median of four worms (2.9
        to 3.8; tables of Witvliet et al. 2021). Scores are lowered where the candidates would
        exceed it.
    min_score : float
        Smallest probability of being a synapse that makes a candidate. The threshold that maximises
        F1 is half of the F1 reached (Lipton et al. 2014).
    """

    smoothing_z_nm: float = 15.0
    max_boundary_distance_nm: float = 50.0
    min_separation_nm: float = 120.0
    min_darkness: float = 1.15
    core_fraction: float = 0.75
    max_extent_nm: float = 450.0
    max_partner_distance_nm: float = 60.0
    rim_nm: float = 12.0
    min_neighbour_fraction: float = 0.05
    min_contact_fraction: float = 0.1
    max_partners: int = 3
    typical_density_per_um3: float = 3.5
    min_score: float = 0.4


@dataclass(frozen=True)
class GraphParams:
    """Parameters of the connectivity graph.

    Parameters
    ----------
    min_score : float
        Smallest score of a synapse that counts. All candidates count by default, because
        `SynapseParams.min_score` was applied already.
    max_gap_nm : float
        Largest width of unlabelled membrane across which two neurites are in contact.
    directed : bool
        Whether connections run from the presynaptic to the postsynaptic neurite. If False, the
        heuristic direction is ignored and both directions are summed.
    """

    min_score: float = 0.0
    max_gap_nm: float = 50.0
    directed: bool = True


@dataclass(frozen=True)
class RunConfig:
    """Configuration of one run of the main job.

    Parameters
    ----------
    source : Source
        Source and cutout.
    outdir : str
        Output folder.
    fall_back_to_phantom : bool
        Run on the phantom when the source cannot be reached; only if the user named no source.
    simulate_sigma_px : float
        Standard deviation of the misalignment added to each section, in pixels; 0 adds none.
    align : bool
        False for stacks that are aligned already.
    segmentation : {"agglomerate", "watershed"}
        Segmentation method: supervoxels and agglomeration, or the published baseline.
    ground_truth : str, optional
        Labels of the source cutout to evaluate against.
    save_minimal : bool
        Do not save the raw and the preprocessed stack.
    aligned_dtype : {"float16", "float32"}
        Data type of the saved aligned stack.
    threads : int
        Sections processed in parallel.
    preprocess_params, align_params, segment_params, stitch_params, watershed_params : object
        Parameters of these stages.
    synapse_params, graph_params : object
        Parameters of these stages.
    """

    source: Source = field(default_factory=Source)
    outdir: str = "outputs"
    fall_back_to_phantom: bool = False
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
