import torch

from train.parts.spectra.partner import PartnerAttention, SharedPrompts, partners


def learnt() -> PartnerAttention:
    torch.manual_seed(0)
    attention = PartnerAttention(16, heads=2).eval()
    torch.nn.init.normal_(attention.attention.out.weight)
    return attention


def test_a_partner_is_the_same_person_in_the_other_spectrum_whoever_there_is():
    labels = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
    spectrum = torch.tensor([1, 2, 2, 1, 1, 1, 0, 2])
    drawn = set()
    for _ in range(30):
        who, has = partners(labels, spectrum)
        assert has.tolist() == [True] * 4 + [False] * 4
        assert torch.equal(labels[who[:4]], labels[:4])
        assert (spectrum[who[:4]] + spectrum[:4]).eq(3).all()
        drawn.add(who[0].item())
    assert drawn == {1, 2}


def test_without_a_partner_it_is_the_path_of_test():
    attention, frames, partner = learnt(), torch.randn(2, 4, 16), torch.randn(2, 3, 16)
    alone = attention(frames)
    nobody = torch.zeros(2, 3, dtype=torch.bool)
    torch.testing.assert_close(attention(frames, None, partner, nobody), alone)
    guided = attention(frames, None, partner, torch.tensor([[True] * 3, [False] * 3]))
    torch.testing.assert_close(guided[1], alone[1])
    assert not torch.allclose(guided[0], alone[0])


def test_bad_frames_of_either_are_not_read():
    attention, frames, partner = learnt(), torch.randn(1, 4, 16), torch.randn(1, 3, 16)
    own, theirs = torch.tensor([[True, True, True, False]]), torch.tensor([[True, False, True]])
    before = attention(frames, own, partner, theirs)
    frames[:, 3], partner[:, 1] = 9, 9
    torch.testing.assert_close(attention(frames, own, partner, theirs)[:, :3], before[:, :3])


def test_both_directions_share_their_weights():
    attention, one, other = learnt(), torch.randn(1, 4, 16), torch.randn(1, 4, 16)
    both = attention(torch.cat([one, other]), None, torch.cat([other, one]))
    torch.testing.assert_close(both[:1], attention(one, None, other))
    torch.testing.assert_close(both[1:], attention(other, None, one))


def test_at_the_start_neither_adds_anything():
    frames = torch.randn(2, 4, 16)
    assert torch.equal(PartnerAttention(16, 2)(frames, None, frames), frames)
    prompts = SharedPrompts(16, heads=2)
    assert torch.equal(prompts(frames), frames)
    torch.nn.init.ones_(prompts.gate)
    assert not torch.allclose(prompts(frames), frames)
    # What a frame takes depends on no other.
    torch.testing.assert_close(prompts(frames)[:, :1], prompts(frames[:, :1]))
