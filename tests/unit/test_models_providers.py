"""Specifiers, presets and keys."""

import pytest
from pydantic import ValidationError

from stigmergy.errors import UsageError
from stigmergy.models import GatewayConfig, LiveModel, ReplayModel, gateway_config, parse_model
from stigmergy.models.config import ProviderConfig
from stigmergy.models.providers import PRESETS, open_provider, preset

KEY = "sk-0123456789abcdef"


def test_a_preset_and_a_model():
    choice = parse_model("openrouter:qwen/qwen3-coder:free", environ={})
    assert isinstance(choice, LiveModel)
    assert choice.model == "qwen/qwen3-coder:free"
    assert choice.provider.base_url == "https://openrouter.ai/api/v1"
    assert choice.provider.models == {choice.model: choice.model}


def test_any_server_by_its_address():
    choice = parse_model("http://127.0.0.1:8000/v1/#my/model", environ={})
    assert isinstance(choice, LiveModel)
    assert (choice.provider.base_url, choice.model) == ("http://127.0.0.1:8000/v1", "my/model")


@pytest.mark.parametrize(
    ("host", "takes_key"),
    [
        ("https://models.example", True),
        ("http://localhost:8000", True),
        ("http://127.0.0.1:8000", True),
        ("http://models.example", False),
        ("http://127.0.0.1.models.example", False),
    ],
)
def test_the_key_of_an_address_goes_encrypted_or_stays_on_this_machine(host, takes_key):
    choice = parse_model(f"{host}/v1#m", environ={"STIG_MODEL_KEY": KEY})
    assert isinstance(choice, LiveModel)
    assert choice.provider.key_env == ("STIG_MODEL_KEY" if takes_key else None)


def test_a_recording(tmp_path):
    choice = parse_model(f"replay:{tmp_path}/a.jsonl", environ={})
    assert choice == ReplayModel(tmp_path / "a.jsonl")


@pytest.mark.parametrize("text", ["", "gpt", "openai:", "nobody:gpt", "http://127.0.0.1:1/v1"])
def test_what_names_no_model_is_told_how_to(text):
    with pytest.raises(UsageError):
        parse_model(text, environ={})


def test_every_preset_opens_with_its_address_and_key():
    for name, known in PRESETS.items():
        environ = {known.key_env: KEY, known.base_url_env: "https://models.example/v1/"}
        provider = open_provider(preset(name, environ=environ), environ=environ)
        assert provider.config.base_url == "https://models.example/v1"
        assert provider.key is not None
        assert provider.key.get_secret_value() == KEY
        assert KEY not in repr(provider)


def test_a_deployment_without_its_address_says_which_variable():
    with pytest.raises(UsageError, match="RUNPOD_BASE_URL"):
        preset("runpod", environ={})


def test_a_missing_key_is_named_by_its_variable():
    with pytest.raises(UsageError, match="OPENAI_API_KEY"):
        open_provider(preset("openai", environ={}), environ={"OPENAI_API_KEY": " "})


def test_a_local_server_needs_no_key():
    assert open_provider(preset("vllm", environ={}), environ={}).key is None


def test_a_key_file_open_to_others_is_refused(tmp_path):
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    path.chmod(0o644)
    config = ProviderConfig(name="p", base_url="https://a.example/v1", key_file=path)
    with pytest.raises(UsageError, match="chmod 600") as caught:
        open_provider(config, environ={})
    assert KEY not in str(caught.value)
    path.chmod(0o600)
    provider = open_provider(config, environ={})
    assert provider.key is not None
    assert provider.key.get_secret_value() == KEY


@pytest.mark.parametrize("content", ["", "two keys", "línea", "a\nb"])
def test_a_key_file_that_holds_no_key_is_refused_without_its_text(tmp_path, content):
    path = tmp_path / "key"
    path.write_text(content)
    path.chmod(0o600)
    config = ProviderConfig(name="p", base_url="https://a.example/v1", key_file=path)
    with pytest.raises(UsageError) as caught:
        open_provider(config, environ={})
    assert not content or content not in str(caught.value)


@pytest.mark.parametrize("host", ["gpu.example", "127.0.0.1.example", "127.evil", "[::2]"])
def test_a_key_does_not_go_unencrypted_to_another_machine(host):
    with pytest.raises(ValidationError, match="unencrypted"):
        ProviderConfig(name="p", base_url=f"http://{host}/v1", key_env="K")


def test_a_key_may_go_unencrypted_within_this_machine_and_where_that_is_wanted():
    ProviderConfig(name="p", base_url="http://gpu.example/v1", key_env="K", allow_plain_http=True)
    for host in ("localhost", "127.0.0.1", "127.1.2.3", "[::1]"):
        ProviderConfig(name="p", base_url=f"http://{host}:1/v1", key_env="K")
    ProviderConfig(name="p", base_url="http://gpu.example/v1")


@pytest.mark.parametrize(
    "url", ["ftp://a/v1", "https://user:pass@a/v1", "https://a/v1?key=x", "https://a/v1#x", "a/v1"]
)
def test_an_address_holds_no_key(url):
    with pytest.raises(ValidationError):
        ProviderConfig(name="p", base_url=url)


def test_spillover_answers_under_the_first_models_name():
    config = gateway_config("openai:gpt-4o-mini", environ={}, spillover=("ollama:qwen3",))
    first, second = config.providers
    assert (first.role, second.role) == ("primary", "spillover")
    assert second.upstream_name("gpt-4o-mini") == "qwen3"
    assert second.upstream_name("qwen3") is None
    assert config.default_model == "gpt-4o-mini"


def test_one_provider_can_be_its_own_spillover():
    config = gateway_config("ollama:a", environ={}, spillover=("ollama:b", "ollama:c"))
    assert len({provider.name for provider in config.providers}) == 3


def test_a_recording_is_not_recorded_again(tmp_path):
    with pytest.raises(UsageError, match="record"):
        gateway_config("replay:a.jsonl", environ={}, record=tmp_path / "b.jsonl")


def test_a_gateway_has_one_kind_of_source(tmp_path):
    with pytest.raises(ValidationError, match="either"):
        GatewayConfig()
    with pytest.raises(ValidationError, match="either"):
        GatewayConfig(providers=(preset("ollama", environ={}),), replay=tmp_path)
