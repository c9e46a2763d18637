// STUB, for type-checking on Linux only: what a picture coder of PortraitImages has, without bodies.

import Foundation
import PortraitKit

enum PictureCoder {
    static func decode(_ data: Data, path: String, maxPixels: Int) throws -> DecodedPicture { fatalError() }
    static func encode(_ picture: Picture, asPNG: Bool, path: String) throws -> Data { fatalError() }
}
