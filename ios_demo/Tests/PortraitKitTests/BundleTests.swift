import Foundation
import Testing

@testable import PortraitKit

@Suite struct BundleTests {
    /// Digests of FIPS 180-4's examples and of a million letters.
    @Test(arguments: [
        ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
        (
            "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"
        ),
        (
            String(repeating: "a", count: 1_000_000),
            "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"
        ),
    ])
    func sha256IsThatOfTheStandard(text: String, digest: String) {
        var hash = SHA256()
        hash.update(text.utf8)
        #expect(hash.hexDigest() == digest)
    }

    @Test func aFolderThatIsNotThereHasNoHash() {
        #expect(throws: PortraitError.self) { try PackageHash.sha256(ofPackageAt: "/nowhere.mlpackage") }
    }

    @Test func theListOfPlacedPackagesIsRead() throws {
        let json = #"{"format": 1, "packages": [{"name": "a", "sha256": "00", "bytes": 3}], "photos": ["p.jpg"]}"#
        let list = try PlacedPackages(json: Data(json.utf8))
        #expect(list.packages == [PlacedPackages.Package(name: "a", sha256: "00", bytes: 3)])
        #expect(list.photos == ["p.jpg"])
    }

    @Test(arguments: [
        ("[]", "it cannot be read"), (#"{"format": 2, "packages": [], "photos": []}"#, "it has format 2, not 1"),
        (#"{"format": 1, "packages": [], "photos": []}"#, "it names no package"),
    ])
    func aListThatCannotBeUsedIsRefused(json: String, reason: String) throws {
        let error = try #require(throws: PortraitError.self) { try PlacedPackages(json: Data(json.utf8)) }
        #expect("\(error)".contains(reason))
    }
}
