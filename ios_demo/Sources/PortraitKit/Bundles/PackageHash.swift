import Foundation

/// The hash by which the toolkit names a package: SHA-256 over every file's relative name, length and content.
public enum PackageHash {
    /// The hash of a .mlpackage, equal to the toolkit's `saved_package(path).sha256`.
    ///
    /// - Parameter path: the package's folder.
    /// - Throws: `PortraitError.engine` if it is not a folder or one of its files cannot be read.
    public static func sha256(ofPackageAt path: String) throws(PortraitError) -> String {
        do {
            var digest = SHA256()
            for name in try fileNames(in: path) {
                let content = try Data(contentsOf: URL(fileURLWithPath: "\(path)/\(name)"))
                digest.update("\(name)\0\(content.count)\0".utf8)
                digest.update(content)
            }
            return digest.hexDigest()
        } catch {
            throw PortraitError.engine(
                name: path, reason: "its files cannot be read: \(error.localizedDescription)", hint: "")
        }
    }

    /// Names of the files relative to the package, in the order of their path components.
    private static func fileNames(in path: String) throws -> [String] {
        let files = FileManager.default
        return try files.subpathsOfDirectory(atPath: path)
            .filter { name in
                var isFolder: ObjCBool = false
                return files.fileExists(atPath: "\(path)/\(name)", isDirectory: &isFolder) && !isFolder.boolValue
            }
            .sorted { left, right in
                left.split(separator: "/").lexicographicallyPrecedes(right.split(separator: "/")) {
                    $0.utf8.lexicographicallyPrecedes($1.utf8)
                }
            }
    }
}
