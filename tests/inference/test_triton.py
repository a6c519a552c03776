"""A model repository for Triton: config.pbtxt by its schema, and the ONNX in it by what the schema promises."""

import importlib.util

import numpy as np
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from paddle_cls.checkpoints.info import CheckpointInfo, Description
from paddle_cls.data.sets import cifar10
from paddle_cls.inference import exported, exporting, triton

# The messages of Triton's model_config.proto that are used: field, its number and kind, and * where it repeats.
SCHEMA = {
    "ModelConfig": "name 1 string, platform 2 string, max_batch_size 4 int32, input 5 ModelInput*, output 6 ModelOutput*, "
                   "instance_group 7 ModelInstanceGroup*, dynamic_batching 11 ModelDynamicBatching",
    "ModelInput": "name 1 string, data_type 2 DataType, dims 4 int64*",
    "ModelOutput": "name 1 string, data_type 2 DataType, dims 3 int64*, label_filename 4 string",
    "ModelInstanceGroup": "count 2 int32, kind 4 Kind",
    "ModelDynamicBatching": "max_queue_delay_microseconds 2 uint64"}
ENUMS = {"DataType": {"TYPE_INVALID": 0, "TYPE_UINT8": 2, "TYPE_FP32": 11},
         "Kind": {"KIND_AUTO": 0, "KIND_GPU": 1, "KIND_CPU": 2}}
PLAIN = {"string": 9, "int32": 5, "int64": 3, "uint64": 4}


def schema():
    """Return the class of protobuf messages ModelConfig."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, values in ENUMS.items():
        enum = file.enum_type.add(name=name)
        for word, number in values.items():
            enum.value.add(name=word, number=number)
    for name, fields in SCHEMA.items():
        message = file.message_type.add(name=name)
        for field in fields.split(", "):
            word, number, kind = field.split()
            bare = kind.rstrip("*")
            made = message.field.add(name=word, number=int(number), label=3 if kind.endswith("*") else 1,
                                     type=PLAIN.get(bare, 14 if bare in ENUMS else 11))
            if bare not in PLAIN:
                made.type_name = f".inference.{bare}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file) if hasattr(pool, "Add") else pool.AddSerializedFile(file.SerializeToString())
    kind = pool.FindMessageTypeByName("inference.ModelConfig")
    made = getattr(message_factory, "GetMessageClass", None)               # since protobuf 4.22
    return made(kind) if made else message_factory.MessageFactory(pool).GetPrototype(kind)


def described(classes, outputs: int | None = None, **tensors) -> exported.ExportInfo:
    about = Description.of("resnet", {}, classes=classes, image_size=32, outputs=outputs,
                           normalization={"mean": [0.5] * 3, "std": [0.5] * 3})
    trained = CheckpointInfo.new(about).sealed({".pdparams": "a"})
    shapes = {"images": ("uint8", [-1, 32, 32, 3]), "logits": ("float32", [-1, outputs or len(classes)]), **tensors}
    return exported.ExportInfo.new(trained, target="triton", precision="float32", network="eyes/1/model.onnx", tensors=shapes)


def test_the_configuration_follows_the_schema(tmp_path):
    info = described(cifar10.CLASSES, features=("float32", [-1, 64]))
    (tmp_path / "eyes" / "1").mkdir(parents=True)
    triton.write(tmp_path, info)
    found = text_format.Parse((tmp_path / "eyes" / "config.pbtxt").read_text(), schema()())
    assert (found.name, found.platform, found.max_batch_size) == ("eyes", "onnxruntime_onnx", 32)
    assert [(one.name, one.data_type, list(one.dims)) for one in (*found.input, *found.output)] == [
        ("images", 2, [32, 32, 3]), ("logits", 11, [10]), ("features", 11, [64])]
    assert [one.label_filename for one in found.output] == ["labels.txt", ""]
    assert [(one.count, one.kind) for one in found.instance_group] == [(1, 0)]
    assert found.HasField("dynamic_batching") and found.dynamic_batching.max_queue_delay_microseconds == 1000
    assert (tmp_path / "eyes" / "labels.txt").read_text().splitlines() == list(cifar10.CLASSES)


def test_one_logit_has_no_labels(tmp_path):
    (tmp_path / "eyes" / "1").mkdir(parents=True)
    triton.write(tmp_path, described(["well", "ill"], 1))
    found = text_format.Parse((tmp_path / "eyes" / "config.pbtxt").read_text(), schema()())
    assert [(list(one.dims), one.label_filename) for one in found.output] == [([1], "")]
    assert not (tmp_path / "eyes" / "labels.txt").exists()


@pytest.mark.parametrize("text, name", [("cifar10_resnet", "cifar10_resnet"), ("my run, 2", "my_run__2"), ("..", "network"),
                                        ("眼 a.b", "__a.b")])
def test_the_name_goes_into_an_address(text, name):
    assert exporting.model_name(text) == name and triton.network_file(name) == f"{name}/1/model.onnx"


@pytest.mark.skipif(importlib.util.find_spec("paddle2onnx") is None, reason="paddle2onnx is not installed")
def test_the_network_takes_any_batch_by_the_names_of_the_configuration(run_folder, tmp_path):
    import onnx

    from paddle_cls import Predictor
    from paddle_cls.checkpoints import checkpoint
    network = Predictor.from_checkpoint(run_folder, device="cpu").model
    info = exporting.write(tmp_path, network, checkpoint.read_info(run_folder / "best"), target="triton", name="eyes")
    assert {"eyes/config.pbtxt", "eyes/labels.txt", "eyes/1/model.onnx"} < set(info.sha256)
    config = text_format.Parse((tmp_path / "eyes" / "config.pbtxt").read_text(), schema()())
    graph = onnx.load(tmp_path / info.network).graph
    for mine, theirs in zip((*config.input, *config.output), (*graph.input, *graph.output), strict=True):
        batch, *sides = theirs.type.tensor_type.shape.dim
        assert mine.name == theirs.name and list(mine.dims) == [side.dim_value for side in sides]
        assert batch.dim_param and not batch.dim_value         # Triton batches what has -1 there
        assert {2: 2, 11: 1}[mine.data_type] == theirs.type.tensor_type.elem_type
    runtime = pytest.importorskip("onnxruntime")
    session, pixels = runtime.InferenceSession(tmp_path / info.network), np.zeros((5, 32, 32, 3), np.uint8)
    for count in (1, 3, 5):
        logits, features = session.run(["logits", "features"], {"images": pixels[:count]})
        assert (logits.shape, features.shape) == ((count, 10), (count, 64))
