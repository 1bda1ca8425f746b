import numpy as np
import pytest

from connectome.proofread.viewer.stroke_watch import StrokeWatcher


@pytest.fixture
def labels():
    return np.ones((3, 4, 5), np.int32)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_stroke_is_detected_with_the_ids_before_in_any_plane(labels, axis):
    watch = StrokeWatcher(labels)
    watch.watch_plane(axis, 2)
    painted = [0, 1, 1]
    painted[axis] = 2
    labels[tuple(painted)] = 7
    (stroke,) = watch.take_strokes()
    assert [int(v[0]) for v in stroke.voxels] == painted
    assert stroke.neurite == 7
    assert stroke.before.tolist() == [1]


def test_each_new_id_is_a_separate_stroke(labels):
    watch = StrokeWatcher(labels)
    watch.watch_plane(0, 1)
    labels[1, 0], labels[1, 1, :2] = 0, 9
    assert [(s.neurite, len(s.before)) for s in watch.take_strokes()] == [(0, 5), (9, 2)]


def test_a_stroke_is_returned_once(labels):
    watch = StrokeWatcher(labels)
    watch.watch_plane(0, 1)
    labels[1, 0] = 2
    assert watch.take_strokes()
    assert not watch.take_strokes()


def test_other_planes_are_not_watched(labels):
    watch = StrokeWatcher(labels)
    watch.watch_plane(0, 1)
    labels[2] = 5
    assert not watch.take_strokes()


def test_nothing_is_detected_in_3d_or_before_a_plane_is_watched(labels):
    watch = StrokeWatcher(labels)
    labels[0] = 5
    assert not watch.take_strokes()
    watch.watch_plane(None)
    labels[0] = 6
    assert not watch.take_strokes()
