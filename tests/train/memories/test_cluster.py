import pytest
import torch

from train.memories.cluster import ClusterMemory

SETTINGS = [(0.2, 0.05), (0.1, 0.07)]


def memory_of(inputs, momentum=0.2, temperature=0.05):
    memory = ClusterMemory(6, 16, momentum, temperature)
    memory.start(inputs["init_features"], inputs["init_labels"])
    return memory


@pytest.mark.golden
@pytest.mark.parametrize(("momentum", "temperature"), SETTINGS)
def test_loss_and_gradient_are_those_of_the_reference(golden, agree, momentum, temperature):
    inputs, _, outputs = golden("cluster_memory")
    memory = memory_of(inputs, momentum, temperature)
    agree(memory.bank, outputs["bank"])
    features = inputs["features"].requires_grad_()
    mean, hard = memory.logits(features)
    key = f"{momentum}_{temperature}"
    agree(mean, outputs[f"{key}.logits_mean"])
    agree(hard, outputs[f"{key}.logits_hard"])
    loss = memory(features, inputs["labels"])
    loss.backward()
    agree(loss[None], outputs[f"{key}.loss"], 1e-4)
    agree(features.grad, outputs[f"{key}.grad_features"], 1e-4)


@pytest.mark.golden
@pytest.mark.parametrize(("momentum", "temperature"), SETTINGS)
def test_both_rows_move_once_from_the_bank_as_it_stood(golden, own, agree, momentum, temperature):
    inputs, _, _ = golden("cluster_memory")
    memory = memory_of(inputs, momentum, temperature)
    memory.move(inputs["features"], inputs["labels"])
    agree(memory.bank, own("cluster_memory")[f"{momentum}_{temperature}.bank_before"])


def random_memory():
    memory = ClusterMemory(4, 8)
    memory.start(torch.randn(12, 8), torch.arange(12) % 4)
    return memory


def test_rows_are_unit_vectors_without_a_gradient():
    memory, features = random_memory(), torch.randn(6, 8, requires_grad=True)
    memory(features, torch.tensor([0, 0, 1, 1, 2, 2])).backward()
    memory.move(features, torch.tensor([0, 0, 1, 1, 2, 2]))
    assert not memory.bank.requires_grad
    torch.testing.assert_close(memory.bank.norm(dim=1), torch.ones(8))


def test_identities_outside_of_the_batch_stay_as_they_are():
    memory = random_memory()
    before = memory.bank.clone()
    memory.move(torch.randn(4, 8), torch.tensor([1, 1, 2, 2]))
    for row in (0, 3, 4, 7):
        assert torch.equal(memory.bank[row], before[row])
    for row in (1, 2, 5, 6):
        assert not torch.equal(memory.bank[row], before[row])


def test_the_bank_travels_with_the_model():
    memory, other = random_memory(), ClusterMemory(4, 8)
    assert other.is_empty
    other.load_state_dict(memory.state_dict())
    assert torch.equal(other.bank, memory.bank)
    assert not other.is_empty
