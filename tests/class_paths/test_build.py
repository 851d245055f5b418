import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Subset, SubsetRandomSampler, TensorDataset

import effpath
from digits_net import class_paths, data, graph
from effpath import BuildOptions, Description
from effpath.errors import ClassPathError, InputError, OptionError
from effpath.paths.rows import Ragged


def correct(count):
    """Images, labels of which every seventeenth is wrong, paths, and the rows that the network gets right."""
    images, labels = data().train_images[:count], data().train_labels[:count].clone()
    labels[5::17] = (labels[5::17] + 1) % 10
    paths = effpath.extract(graph(), images)
    right = np.flatnonzero(paths.classes == labels.numpy())
    assert len(right) < count
    return images, labels.numpy(), paths, right


def test_a_class_path_is_the_union_over_its_correctly_predicted_images():
    images, labels, paths, right = correct(120)
    built = effpath.build_class_paths(graph(), images, labels, options=BuildOptions(batch_size=50))
    for label in range(10):
        rows = [int(r) for r in right if labels[r] == label]
        assert built[label] == paths.union(rows)
        assert built[label].images == len(rows)
    assert built.images == len(right)
    assert built.seen == 120


def test_the_overall_path_is_the_union_of_the_class_paths():
    built = class_paths()
    for label in built.classes:
        assert built[label] <= built.overall
    union = set().union(*(set(built[label].synapses["fc1"]) for label in built.classes))
    assert set(built.overall.synapses["fc1"]) == union


def test_an_image_lies_inside_the_class_path_it_helped_to_build():
    images, _, _, right = correct(60)  # of them, those with a true label helped to build class_paths()
    paths = effpath.extract(graph(), images[right])
    for level in ("synapses", "neurons", "weights"):
        similarity = class_paths().similarity(paths, level)
        assert similarity.shape == (len(right), len(class_paths().feature_names(level)))
        assert (similarity == 1).all()


def test_similarity_is_the_share_of_the_image_set_inside_its_class_set():
    paths = effpath.extract(graph(), data().test_images[:20])
    similarity = class_paths().similarity(paths)
    for row, path in enumerate(paths):
        for column, (layer, own) in enumerate(path.synapses.items()):
            members = set(class_paths()[int(paths.classes[row])].synapses[layer])
            expected = len(set(own) & members) / len(own) if len(own) else float("nan")
            np.testing.assert_equal(similarity[row, column], expected)


def test_an_empty_set_gives_nan():
    paths = effpath.extract(graph(), data().test_images[:2])
    layer = paths.header.layers[0].name
    emptied = Ragged(np.empty(0, np.int64), np.zeros(3, np.int64))
    paths.synapses = {**paths.synapses, layer: emptied}
    similarity = class_paths().similarity(paths)
    assert np.isnan(similarity[:, 0]).all()
    assert not np.isnan(similarity[:, 1:]).any()


def test_counts_say_how_many_images_used_each_synapse():
    images, labels, paths, right = correct(120)
    built = effpath.build_class_paths(graph(), images, labels)
    label = int(labels[right[0]])
    rows = [int(r) for r in right if labels[r] == label]
    for level, key in (("synapses", "fc1"), ("neurons", "conv2"), ("weights", "conv1.weight")):
        ids, counts = built[label].sets(level)[key].ids, built.counts[label][level][key]
        expected: dict[int, int] = {}
        for row in rows:
            for item in paths[row].sets(level)[key]:
                expected[item] = expected.get(item, 0) + 1
        assert dict(zip(ids.tolist(), counts.tolist(), strict=True)) == expected


def test_leave_one_out_equals_a_class_path_built_without_the_image():
    images, labels = data().train_images[:80], data().train_labels[:80]
    built = effpath.build_class_paths(graph(), images, labels)
    paths = effpath.extract(graph(), images)
    own = int(np.flatnonzero(paths.classes == labels.numpy())[3])
    rest = [i for i in range(80) if i != own]
    without = effpath.build_class_paths(graph(), images[rest], labels[rest])
    one = effpath.extract(graph(), images[own : own + 1])
    np.testing.assert_array_equal(built.similarity(one, minimum=2), without.similarity(one))


def test_dense_and_merged_tallies_count_the_same(monkeypatch):
    images, labels = data().train_images[:100], data().train_labels[:100]
    dense = effpath.build_class_paths(graph(), images, labels, options=BuildOptions(batch_size=16))
    monkeypatch.setattr("effpath.class_paths.build.DENSE_BYTES", 0)
    merged = effpath.build_class_paths(graph(), images, labels, options=BuildOptions(batch_size=16))
    for label in dense.classes:
        assert dense[label] == merged[label]
        for level in dense.levels:
            for key, counts in dense.counts[label][level].items():
                np.testing.assert_array_equal(merged.counts[label][level][key], counts)


def test_class_paths_of_two_halves_merge_into_those_of_the_whole():
    images, labels = data().train_images[:200], data().train_labels[:200]
    halves = [effpath.build_class_paths(graph(), images[i::2], labels[i::2]) for i in range(2)]
    whole = effpath.build_class_paths(graph(), images, labels)
    merged = halves[0] | halves[1]
    assert merged.images == whole.images
    assert merged.seen == 200
    for label in whole.classes:
        assert merged[label] == whole[label]
        for level in whole.levels:
            for key, counts in whole.counts[label][level].items():
                np.testing.assert_array_equal(merged.counts[label][level][key], counts)


def test_class_similarity_is_the_jaccard_of_each_two_class_paths():
    matrix = class_paths().class_similarity()
    assert (np.diag(matrix) == 1).all()
    np.testing.assert_array_equal(matrix, matrix.T)
    first = {(k, i) for k, s in class_paths()[3].synapses.items() for i in s}
    second = {(k, i) for k, s in class_paths()[8].synapses.items() for i in s}
    assert matrix[3, 8] == len(first & second) / len(first | second)


def test_a_class_without_a_correctly_predicted_image_is_an_error_that_names_it():
    images, labels = data().train_images[:30], (data().train_labels[:30] * 0) + 7
    wrong = images[data().train_labels[:30] != 7]
    described = Description([*map(str, range(7)), "seven"])
    with pytest.raises(ClassPathError, match=r"no image of class seven \(7\) is predicted correctly"):
        effpath.build_class_paths(graph(), wrong, labels[: len(wrong)], description=described)


def test_a_class_that_has_no_path_is_named_with_those_that_have():
    images, labels = data().train_images[:200], data().train_labels[:200]
    keep = labels != 4
    built = effpath.build_class_paths(graph(), images[keep], labels[keep])
    with pytest.raises(ClassPathError, match="no class path for class 4; there are class paths for 0, 1, 2, 3, 5"):
        built[4]


def test_labels_that_do_not_fit_are_refused():
    images = data().train_images[:3]
    with pytest.raises(InputError, match="one label for each of 3 images"):
        effpath.build_class_paths(graph(), images, [1, 2])
    with pytest.raises(InputError, match=r"labels in 0 … 9.* got 1 … 10"):
        effpath.build_class_paths(graph(), images, [1, 2, 10])


def test_only_the_wanted_levels_and_layers_are_kept():
    images, labels = data().train_images[:100], data().train_labels[:100]
    options = BuildOptions(levels=("weights",), counts=False)
    built = effpath.build_class_paths(graph(), images, labels, layers=2, options=options)
    full = effpath.build_class_paths(graph(), images, labels)
    assert built.levels == ("weights",)
    assert not built.counts
    assert built[1].weights == {key: full[1].weights[key] for key in ("fc2.weight", "fc3.weight")}
    with pytest.raises(OptionError, match="keeps no synapses"):
        built[1].synapses  # noqa: B018
    with pytest.raises(OptionError, match="minimum > 1 needs use counts"):
        built.similarity(effpath.extract(graph(), images[:2], layers=2), "weights", minimum=2)
    with pytest.raises(OptionError, match="levels must be some of"):
        effpath.build_class_paths(graph(), images, labels, options=BuildOptions(("edges",)))


def test_a_killed_run_goes_on_from_its_store(tmp_path):
    images, labels = data().train_images[:120], data().train_labels[:120]
    folder = tmp_path / "class_paths"
    options = effpath.StoreOptions(batch_size=20, shard_size=20)

    def die(done, total):
        if done >= 60:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        effpath.build_store(folder, graph(), images, labels, options=options, progress=die)
    assert effpath.load_class_paths(folder, graph()).seen == 0  # until the run is at its end
    steps = []
    resumed = effpath.build_store(
        folder, graph(), images, labels, options=options, progress=lambda done, total: steps.append(done)
    )
    assert sorted(set(steps)) == [40, 60, 80, 100, 120]
    whole = effpath.build_class_paths(graph(), images, labels)
    assert all(resumed[label] == whole[label] for label in whole.classes)
    np.testing.assert_array_equal(resumed.counts[2]["synapses"]["conv1"], whole.counts[2]["synapses"]["conv1"])


def test_a_data_set_and_a_loader_bring_their_labels():
    images, labels = data().train_images[:60], data().train_labels[:60]
    whole = TensorDataset(images, labels)
    built = effpath.build_class_paths(graph(), images, labels, options=BuildOptions(allow_missing=True))
    for given in (whole, DataLoader(whole, batch_size=7, shuffle=True), list(zip(images, labels, strict=True))):
        other = effpath.build_class_paths(graph(), given, options=BuildOptions(allow_missing=True))
        assert dict(other) == dict(built)
        assert (other.seen, other.images) == (60, built.images)
        assert other.shards[0].common(built.shards[0]) == 60
        np.testing.assert_array_equal(other.counts[2]["synapses"]["conv1"], built.counts[2]["synapses"]["conv1"])


def test_of_a_loader_the_images_count_that_its_sampler_visits():
    images, labels = data().train_images[:60], data().train_labels[:60]
    whole = TensorDataset(images, labels)
    half = effpath.build_class_paths(graph(), images[:30], labels[:30], options=BuildOptions(allow_missing=True))
    for given in (
        DataLoader(whole, sampler=SubsetRandomSampler(range(30))),
        DataLoader(Subset(whole, range(30)), shuffle=True),
        Subset(whole, range(30)),
    ):
        other = effpath.build_class_paths(graph(), given, options=BuildOptions(allow_missing=True))
        assert dict(other) == dict(half)
        assert other.seen == 30
    with pytest.raises(InputError, match="expected labels beside the images"):
        effpath.build_class_paths(graph(), images)


def test_a_store_of_other_work_is_refused(tmp_path):
    images, labels = data().train_images[:60], data().train_labels[:60]
    folder = tmp_path / "class_paths"
    first, second = Description(data="first"), Description(data="second")
    effpath.build_store(folder, graph(), images, labels, description=first)
    with pytest.raises(effpath.errors.StoreError, match="belongs to another run"):
        effpath.build_store(folder, graph(), images, labels, description=second)
    with pytest.raises(OptionError, match="different options"):
        effpath.build_store(folder, graph(), images, labels, description=first, theta=0.9)


def test_paths_of_another_network_are_refused_with_both_fingerprints_named():
    torch.manual_seed(1)
    other = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 10)).eval()
    paths = effpath.extract(effpath.capture(other, data().test_images[:1]), data().test_images[:2])
    with pytest.raises(effpath.errors.FingerprintError) as caught:
        class_paths().similarity(paths)
    assert graph().fingerprint in str(caught.value)
    assert paths.header.fingerprint in str(caught.value)
