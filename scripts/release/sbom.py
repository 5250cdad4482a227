# SPDX-License-Identifier: Apache-2.0
"""The bill of materials of a wheel (PEP 770, CycloneDX 1.6): what of others is compiled in, and what it runs on."""

from __future__ import annotations

import email
import re
import uuid
import zipfile
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.output import make_outputter
from cyclonedx.schema import OutputFormat, SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.requirements import Requirement


@dataclass(frozen=True)
class Library:
    """A library that is compiled in, and its licence as an SPDX expression."""

    name: str
    version: str
    licence: str
    purl_type: str = 'generic'


def installed(name: str) -> Library:
    """Return a library whose headers are installed as a Python package."""
    found = metadata.metadata(name)
    return Library(name, found['Version'], found['License-Expression'], 'pypi')


def add(wheel: Path, libraries: list[Library], epoch: int) -> None:
    """Write the bill of materials into the folder of an unpacked wheel, dated ``epoch`` [s]."""
    (dist_info,) = wheel.glob('*.dist-info')
    (tag,) = re.findall('^Tag: (.+)', (dist_info / 'WHEEL').read_text(), re.M)
    described = email.message_from_string((dist_info / 'METADATA').read_text(encoding='utf-8'))
    bom = _bom(described, tag, libraries, epoch)
    text = make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string(indent=2)
    folder = dist_info / 'sboms'
    folder.mkdir()
    (folder / 'robocache_ros.cdx.json').write_text(text + '\n', encoding='utf-8')


def faults(wheel: Path) -> list[str]:
    """Return a line for each bill of materials in ``wheel`` that is no CycloneDX 1.6."""
    with zipfile.ZipFile(wheel) as archive:
        boms = {name: archive.read(name).decode() for name in archive.namelist() if name.endswith('.cdx.json')}
    errors = {name: JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) for name, text in boms.items()}
    return [f'{name} is no CycloneDX 1.6: {error}' for name, error in errors.items() if error is not None]


def _bom(described: email.message.Message, tag: str, libraries: list[Library], epoch: int) -> Bom:
    name, version = described['Name'].replace('_', '-'), described['Version']
    purl = PackageURL('pypi', None, name, version)
    package = _component(name, version, described['License-Expression'] or described['License'], purl)
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f'{purl}?tag={tag}&epoch={epoch}'))
    bom.metadata.timestamp = datetime.fromtimestamp(epoch, timezone.utc)
    bom.metadata.component = package
    package.components = [
        _component(one.name, one.version, one.licence, PackageURL(one.purl_type, None, one.name, one.version))
        for one in libraries
    ]
    requirements = map(Requirement, described.get_all('Requires-Dist', []))
    by_name = {one.name: one for one in sorted(requirements, key=lambda one: one.marker is None)}  # required ones win
    bom.components = [_needed(requirement) for requirement in by_name.values()]
    bom.register_dependency(package, [*package.components, *bom.components])
    return bom


def _needed(requirement: Requirement) -> Component:
    """What is installed beside the wheel, in a version that the one who installs it chooses."""
    purl = PackageURL('pypi', None, requirement.name.lower())
    scope = ComponentScope.OPTIONAL if requirement.marker else ComponentScope.REQUIRED
    return Component(name=requirement.name, type=ComponentType.LIBRARY, scope=scope, purl=purl, bom_ref=str(purl))


def _component(name: str, version: str, licence: str, purl: PackageURL) -> Component:
    return Component(
        name=name,
        version=version,
        type=ComponentType.LIBRARY,
        licenses=[LicenseFactory().make_from_string(licence)],
        purl=purl,
        bom_ref=str(purl),
    )
