"""BossDB through unmodified ``intern`` against a loopback server: voxels, faults, cache."""

import re
import socket
import time
from dataclasses import replace

import numpy as np
import pytest
from helpers.bossdb_server import BossServer, Fault, serve, silent_port

from connectome.core.errors import ConnectomeError, DataError, SourceUnreachable, UsageError
from connectome.core.progress import ignore_progress
from connectome.fetch.bossdb.channel import Archive, ChannelInfo, split_into_slabs
from connectome.fetch.bossdb.uri import Address, parse_uri
from connectome.fetch.retry import DEFAULT_RETRIES, RetryPolicies, RetryPolicy

pytestmark = pytest.mark.slow

EM = Address("lab", "worm", "em")
QUICK = RetryPolicy(
    connect_s=0.5, read_s=0.3, attempts=4, first_wait_s=0.01, longest_wait_s=0.02, deadline_s=3
)
RETRIES = RetryPolicies(metadata=QUICK, voxels=QUICK)
RNG = np.random.default_rng(0)
NATIVE = RNG.integers(1, 256, (37, 90, 122), dtype=np.uint8)

TRANSIENT = [
    *(Fault(status, code=5000) for status in (408, 425, 429, 500, 502, 503, 504)),
    Fault(503),  # with a page of HTML, as a load balancer sends it
    Fault(manner="silent"),
    Fault(manner="reset"),
    Fault(manner="cut_off"),
    Fault(manner="short"),
    Fault(manner="not_blosc"),
    Fault(manner="html"),
]
PERMANENT = [
    (Fault(400, code=1001), DataError, "--origin"),
    (Fault(400, code=1002), DataError, "--resolution"),
    (Fault(401, code=2005), SourceUnreachable, "--boss_token"),
    (Fault(401), SourceUnreachable, "--boss_token"),
    (Fault(403, code=2005), SourceUnreachable, "--boss_token"),
    (Fault(404, code=4000), DataError, "collection/experiment/channel"),
    (Fault(404), DataError, "collection/experiment/channel"),
    (Fault(413, code=2000), DataError, "smaller --cutout"),
    (Fault(418), DataError, "418"),
]


def fault_id(value):
    if isinstance(value, Fault):
        return f"{value.manner}-{value.status}-{value.code}"
    return ""


@pytest.fixture
def boss():
    return BossServer(NATIVE)


@pytest.fixture
def host(boss):
    with serve(boss) as url:
        yield url


@pytest.fixture
def archive(host, tmp_path):
    return Archive(host, "public", str(tmp_path), RETRIES)


def fetch(archive, origin=(3, 11, 7), shape=(33, 50, 61), mip=0, progress=ignore_progress):
    return archive.fetch_channel(Address("lab", "worm", "em", mip)).read(origin, shape, progress)


def box(data, origin, shape):
    return data[tuple(slice(at, at + n) for at, n in zip(origin, shape, strict=True))]


# --- addresses ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("uri", "resolution", "mip"),
    [
        ("bossdb://c/e/ch", None, None),
        ("bossdb://c/e/ch/", None, None),
        ("bossdb://c/e/ch/3", None, 3),
        ("bossdb://c/e/ch", 0, 0),
        ("bossdb://c/e/ch/2", 2, 2),
    ],
)
def test_uri_or_resolution_set_the_mip(uri, resolution, mip):
    assert parse_uri(uri, resolution) == Address("c", "e", "ch", mip)


def test_a_channel_name_may_be_a_number():
    assert parse_uri("bossdb://c/e/8") == Address("c", "e", "8")


@pytest.mark.parametrize(
    "uri", ["bossdb://", "bossdb://a/b", "bossdb://a//c", "bossdb://a/b/c/d", "bossdb://a/../c/1"]
)
def test_a_malformed_uri_is_a_usage_error_that_shows_the_form(uri):
    with pytest.raises(UsageError, match=re.escape("bossdb://collection/experiment/channel")):
        parse_uri(uri)


def test_two_different_mips_are_a_usage_error():
    with pytest.raises(UsageError, match="mip 1, but --resolution is 2"):
        parse_uri("bossdb://a/b/c/1", 2)


@pytest.mark.parametrize(
    ("host", "protocol", "name"),
    [
        ("https://api.bossdb.io", "https", "api.bossdb.io"),
        ("https://api.bossdb.io/", "https", "api.bossdb.io"),
        ("http://127.0.0.1:8080", "http", "127.0.0.1:8080"),
        ("api.bossdb.io", "https", "api.bossdb.io"),
    ],
)
def test_a_host_has_a_scheme_or_not(host, protocol, name):
    archive = Archive(host, "public")
    assert (archive.protocol, archive.host) == (protocol, name)


@pytest.mark.parametrize("host", ["", "ftp://x.org", "https://x.org/v1", "https://"])
def test_an_invalid_host_is_a_usage_error(host):
    with pytest.raises(UsageError, match="--boss_host"):
        Archive(host, "public")


# --- mips ---------------------------------------------------------------------------------------


def info(**changes):
    native = {
        "kind": "image",
        "datatype": "uint8",
        "start": (0, 0, 0),
        "stop": (60, 2305, 7616),
        "native_voxel_size": (30.0, 2.0, 2.0),
        "levels": 5,
        "isotropic": False,
        "downsampled": True,
    }
    return ChannelInfo(**{**native, **changes})


def test_an_anisotropic_hierarchy_halves_only_the_plane():
    assert info().shape(2) == (60, 576, 1904)
    assert info().voxel_size(2) == (30, 8, 8)


def test_an_isotropic_hierarchy_halves_all_axes():
    assert info(isotropic=True).shape(2) == (15, 576, 1904)
    assert info(isotropic=True).voxel_size(2) == (120, 8, 8)


@pytest.mark.parametrize(
    ("pixel", "mip"),
    [(2.0, 2), (8.0, 0), (16.0, 0), (1.0, 3), (4 * 2**0.5, 0), (0.1, 4)],  # 5.7, 11.3 nm: a tie
)
def test_the_default_mip_is_the_one_nearest_8_nm_and_the_finer_of_two(pixel, mip):
    assert info(native_voxel_size=(30.0, pixel, pixel)).nearest_mip(8.0) == mip


@pytest.mark.parametrize(
    ("unit", "size"),
    [("nanometers", 4), ("micrometers", 0.004), ("millimeters", 4e-6), ("centimeters", 4e-7)],
)
def test_voxel_sizes_arrive_in_nm_and_zyx_order(tmp_path, unit, size):
    frame = {
        "voxel_unit": unit,
        "x_voxel_size": size,
        "y_voxel_size": 2 * size,
        "z_voxel_size": 10 * size,
    }
    with serve(BossServer(NATIVE, frame=frame)) as host:
        channel = Archive(host, "public", str(tmp_path), RETRIES).fetch_channel(EM)
    assert channel.address.mip == 0  # 5.7 nm in plane at mip 0, 11.3 at mip 1
    assert channel.voxel_size == pytest.approx((40, 8, 4))


def test_a_mip_that_does_not_exist_is_a_usage_error(archive):
    with pytest.raises(UsageError, match="there are mips 0 to 3"):
        archive.fetch_channel(Address("lab", "worm", "em", 4))


# --- voxels -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mip", "origin", "shape"),
    [
        (0, (0, 0, 0), NATIVE.shape),
        (0, (3, 11, 7), (33, 50, 61)),
        (0, (36, 89, 121), (1, 1, 1)),
        (0, (5, 0, 0), (1, 90, 122)),
        (1, (2, 3, 4), (17, 40, 50)),
        (3, (0, 0, 0), (37, 11, 15)),
    ],
)
def test_voxels_arrive_equal(boss, archive, mip, origin, shape):
    got = fetch(archive, origin, shape, mip)
    np.testing.assert_array_equal(got, box(boss.at_mip(mip), origin, shape))


def test_voxels_of_an_isotropic_hierarchy_arrive_equal(tmp_path):
    boss = BossServer(NATIVE, experiment={"hierarchy_method": "isotropic"})
    with serve(boss) as host:
        archive = Archive(host, "public", str(tmp_path), RETRIES)
        got = fetch(archive, (1, 2, 3), (17, 20, 30), mip=1)
    np.testing.assert_array_equal(got, box(boss.at_mip(1), (1, 2, 3), (17, 20, 30)))


def test_a_frame_that_does_not_start_at_zero_is_counted_from_its_first_voxel(tmp_path):
    frame = {"x_start": 10, "x_stop": 132, "y_start": 6, "y_stop": 96, "z_start": 5, "z_stop": 42}
    with serve(BossServer(NATIVE, frame=frame)) as host:
        channel = Archive(host, "public", str(tmp_path), RETRIES).fetch_channel(EM)
        got = channel.read((1, 0, 0), (36, 90, 122), ignore_progress)
    np.testing.assert_array_equal(got, NATIVE[1:])
    assert "starts at 10 6 5 (X Y Z)" in channel.notes[0]


def test_16_bit_voxels_arrive_equal(tmp_path):
    deep = RNG.integers(0, 2**16, (5, 30, 41), dtype=np.uint16)
    with serve(BossServer(deep)) as host:
        got = fetch(Archive(host, "public", str(tmp_path), RETRIES), (1, 2, 3), (4, 28, 38))
    np.testing.assert_array_equal(got, deep[1:5, 2:30, 3:41])
    assert got.dtype == np.uint16


def test_a_cutout_is_fetched_in_slabs_of_16_sections_and_progress_counts_sections(boss, archive):
    finished = []
    fetch(archive, progress=finished.append)
    assert [path.split("/")[-2] for path in boss.cutouts] == ["3:19", "19:35", "35:36"]
    assert finished == [16, 16, 1]


@pytest.mark.parametrize(
    "shape", [(48, 192, 192), (33, 2000, 2000), (5, 9000, 7001), (3, 40_000, 10_000)]
)
def test_slabs_tile_the_box_and_none_is_large_enough_for_intern_to_split(shape):
    covered = 0
    for row in split_into_slabs(shape):
        for slab in row:
            depth, height, width = (part.stop - part.start for part in slab)
            assert depth <= 16
            assert depth * height * width <= 30_000_000
            covered += depth * height * width
    assert covered == np.prod(shape)


def test_slabs_split_in_y_are_put_together(monkeypatch, archive):
    monkeypatch.setattr("connectome.fetch.bossdb.channel.MAX_SLAB_VOXELS", 61 * 20)
    finished = []
    got = fetch(archive, shape=(4, 50, 61), progress=finished.append)
    np.testing.assert_array_equal(got, box(NATIVE, (3, 11, 7), (4, 50, 61)))
    assert finished == [1, 1, 1, 1]


@pytest.mark.parametrize("token", ["public", "50%off"])
def test_the_token_arrives_as_typed(tmp_path, token):
    with serve(BossServer(NATIVE, token=token)) as host:
        assert fetch(Archive(host, token, str(tmp_path), RETRIES)).shape == (33, 50, 61)


def test_ambient_configuration_of_intern_is_not_used(archive, monkeypatch, tmp_path):
    for name, value in (("PROTOCOL", "http"), ("HOST", "127.0.0.1:1"), ("TOKEN", "other")):
        monkeypatch.setenv(f"INTERN_{name}", value)
    (tmp_path / ".intern").mkdir()
    (tmp_path / ".intern" / "intern.cfg").write_text(
        "[Default]\nprotocol = http\nhost = 127.0.0.1:1\ntoken = other\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    assert fetch(archive).shape == (33, 50, 61)


# --- metadata that will not do ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channel", "message"),
    [
        ({"type": "annotation", "datatype": "uint64"}, "annotation channel"),
        ({"datatype": "uint64"}, "type uint64"),
        ({"datatype": "uint32"}, "uint32 is not a valid data type"),
        ({"type": "movie"}, "movie is not a valid type"),
    ],
)
def test_a_channel_that_is_not_em_is_a_data_error(tmp_path, channel, message):
    with (
        serve(BossServer(NATIVE, channel=channel)) as host,
        pytest.raises(DataError, match=message),
    ):
        Archive(host, "public", str(tmp_path), RETRIES).fetch_channel(EM)


def test_a_missing_channel_is_reported_with_the_message_of_the_server(archive):
    with pytest.raises(DataError, match=r"404 \(emm not found\)"):
        archive.fetch_channel(Address("lab", "worm", "emm"))


def test_a_channel_without_mips_is_noted(tmp_path):
    with serve(BossServer(NATIVE, channel={"downsample_status": "NOT_DOWNSAMPLED"})) as host:
        archive = Archive(host, "public", str(tmp_path), RETRIES)
        assert archive.fetch_channel(Address("lab", "worm", "em", 0)).notes == ()
        assert "no mip above 0" in archive.fetch_channel(Address("lab", "worm", "em", 1)).notes[0]


# --- faults -------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", TRANSIENT, ids=fault_id)
def test_a_transient_fault_costs_one_more_request(boss, archive, fault):
    boss.faults.append(fault)
    boss.faulty = re.compile("cutout.*/19:35/")
    got = fetch(archive)
    np.testing.assert_array_equal(got, box(NATIVE, (3, 11, 7), (33, 50, 61)))
    assert [path.split("/")[-2] for path in boss.cutouts] == ["3:19", "19:35", "19:35", "35:36"]


@pytest.mark.parametrize("fault", TRANSIENT, ids=fault_id)
def test_a_lasting_fault_ends_in_an_error_that_names_what_is_kept(boss, archive, fault):
    boss.always, boss.faulty = fault, re.compile("cutout.*/19:35/")
    with pytest.raises(ConnectomeError, match="sections 19 to 34 of bossdb://lab/worm/em") as error:
        fetch(archive)
    assert len(boss.cutouts) == 1 + QUICK.attempts
    assert "kept" in error.value.consequence


@pytest.mark.parametrize(("fault", "kind", "hint"), PERMANENT, ids=fault_id)
def test_a_refusal_is_reported_at_once_with_a_hint(boss, archive, fault, kind, hint):
    boss.always, boss.faulty = fault, re.compile("cutout")
    with pytest.raises(kind, match=re.escape(hint)):
        fetch(archive)
    assert len(boss.cutouts) == 1


@pytest.mark.parametrize(("fault", "kind", "hint"), PERMANENT, ids=fault_id)
def test_a_refusal_of_metadata_is_reported_at_once(boss, archive, fault, kind, hint):
    boss.always = fault
    with pytest.raises(kind, match=re.escape(hint)):
        archive.fetch_channel(EM)
    assert len(boss.requests) == 1


@pytest.mark.parametrize(
    "fault", [Fault(503, code=5000), Fault(manner="reset"), Fault(manner="cut_off")], ids=fault_id
)
@pytest.mark.parametrize("path", ["/channel/", "/experiment/worm$", "/coord/"])
def test_metadata_are_requested_again_after_a_fault(boss, archive, fault, path):
    boss.faults.append(fault)
    boss.faulty = re.compile(path)
    assert archive.fetch_channel(EM).shape == NATIVE.shape
    assert len(boss.requests) == 4


def test_a_login_page_instead_of_json_is_recognised_at_once(boss, archive):
    boss.always = Fault(manner="html")
    with pytest.raises(SourceUnreachable, match="login page"):
        archive.fetch_channel(EM)
    assert len(boss.requests) == 1


def test_retry_after_is_honoured(boss, archive):
    boss.faults.append(Fault(429, code=2002, headers={"Retry-After": "1"}))
    boss.faulty = re.compile("cutout")
    start = time.monotonic()
    fetch(archive, shape=(4, 5, 6))
    assert 1.0 <= time.monotonic() - start < 2.5


def test_a_retry_after_beyond_the_deadline_ends_in_an_error(boss, archive):
    boss.always = Fault(503, headers={"Retry-After": "3600"})
    start = time.monotonic()
    with pytest.raises(SourceUnreachable, match="503"):
        archive.fetch_channel(EM)
    assert time.monotonic() - start < 1


def test_a_body_that_trickles_in_meets_the_deadline(boss, host, tmp_path):
    # Every read succeeds within its time-out, so only the deadline can end it.
    boss.always, boss.faulty = Fault(manner="trickle"), re.compile("cutout")
    slow = RetryPolicy(connect_s=1, read_s=1, attempts=3, first_wait_s=0.01, deadline_s=0.6)
    archive = Archive(host, "public", str(tmp_path), RetryPolicies(QUICK, slow))
    start = time.monotonic()
    with pytest.raises(SourceUnreachable, match="in time"):
        fetch(archive)
    assert time.monotonic() - start < 2


def test_tls_to_a_plain_server_fails_at_once(host, tmp_path):
    slow_to_retry = RetryPolicies(metadata=replace(QUICK, first_wait_s=1.0, longest_wait_s=1.0))
    secure = host.replace("http:", "https:")
    start = time.monotonic()
    with pytest.raises(SourceUnreachable, match=r"TLS.*\n.*\n.*http://"):
        Archive(secure, "public", str(tmp_path), slow_to_retry).fetch_channel(EM)
    assert time.monotonic() - start < 0.4


# --- unreachable servers ------------------------------------------------------------------------


def seconds_until_failure(host, tmp_path, retries=DEFAULT_RETRIES):
    start = time.monotonic()
    with pytest.raises(SourceUnreachable):
        Archive(host, "public", str(tmp_path), retries).fetch_channel(EM)
    return time.monotonic() - start


def test_a_closed_port_is_reported_within_seconds(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        assert seconds_until_failure(f"http://127.0.0.1:{free.getsockname()[1]}", tmp_path) < 3


def test_a_server_that_never_answers_is_reported_within_seconds(tmp_path):
    with silent_port() as host:
        assert seconds_until_failure(host, tmp_path) < 7


def test_a_resolver_that_never_answers_meets_the_deadline(tmp_path, monkeypatch):
    # A resolver cannot be given a time-out, and one that hangs cannot be run here.
    monkeypatch.setattr("socket.getaddrinfo", lambda *_, **__: time.sleep(30))
    retries = RetryPolicies(metadata=replace(QUICK, deadline_s=0.5))
    assert seconds_until_failure("https://nowhere.invalid", tmp_path, retries) < 1.5


# --- the cache ----------------------------------------------------------------------------------


def test_a_repeated_request_is_answered_from_the_cache(boss, archive):
    first = fetch(archive)
    boss.requests.clear()
    channel = archive.cached_channel(EM)
    assert channel.is_cached((3, 11, 7), (33, 50, 61))
    again = channel.read((3, 11, 7), (33, 50, 61), ignore_progress)
    np.testing.assert_array_equal(again, first)
    assert boss.requests == []


def test_a_channel_is_not_cached_before_it_is_fetched(archive):
    assert archive.cached_channel(EM) is None


def test_an_interrupted_download_resumes(boss, archive):
    boss.always, boss.faulty = Fault(404), re.compile("cutout.*/35:36/")
    with pytest.raises(DataError):
        fetch(archive)
    boss.always = None
    boss.requests.clear()
    np.testing.assert_array_equal(fetch(archive), box(NATIVE, (3, 11, 7), (33, 50, 61)))
    assert [path.split("/")[-2] for path in boss.cutouts] == ["35:36"]


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:40] + b"\0" + b[41:], lambda b: b""]
)
def test_a_damaged_slab_is_fetched_again(boss, archive, tmp_path, damage):
    fetch(archive)
    slab = next(tmp_path.rglob("z19-35*.slab"))
    slab.write_bytes(damage(slab.read_bytes()))
    boss.requests.clear()
    np.testing.assert_array_equal(fetch(archive), box(NATIVE, (3, 11, 7), (33, 50, 61)))
    assert [path.split("/")[-2] for path in boss.cutouts] == ["19:35"]


def test_a_slab_of_other_sections_is_not_accepted(archive, tmp_path):
    fetch(archive)
    slab = next(tmp_path.rglob("z3-19*.slab"))
    slab.replace(slab.with_name(slab.name.replace("z3-19", "z19-35")))
    np.testing.assert_array_equal(fetch(archive), box(NATIVE, (3, 11, 7), (33, 50, 61)))


def test_damaged_metadata_are_fetched_again(archive, tmp_path):
    archive.fetch_channel(EM)
    next(tmp_path.rglob("channel.json")).write_text("{")
    assert archive.cached_channel(EM) is None


def test_no_temporary_files_stay_in_the_cache(archive, tmp_path):
    fetch(archive)
    kept = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in kept} == {".json", ".slab"}
    assert len(kept) == 4
